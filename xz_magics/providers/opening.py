"""From a model's name to the provider that answers it: which endpoint, which key, which price."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from xz_magics.config import Settings, cache_dir
from xz_magics.errors import ConfigError, ModelError
from xz_magics.prices import FlatPrice, flat_price, price_of
from xz_magics.providers import Provider
from xz_magics.providers.answer_forms import own_form
from xz_magics.providers.anthropic import AnthropicWire
from xz_magics.providers.endpoint import Endpoint, checked_key
from xz_magics.providers.local import LocalModel
from xz_magics.providers.openai import OpenAIWire
from xz_magics.providers.scripted import Script, ScriptedProvider, script_of
from xz_magics.providers.wire import Wire
from xz_magics.records import Task

WIRES: Mapping[str, Callable[[], Wire]] = {"openai": OpenAIWire, "anthropic": AnthropicWire}
MAKERS = {
    "openai": Endpoint(name="openai", wire="openai", base_url="https://api.openai.com/v1", key_env="OPENAI_API_KEY"),
    "anthropic": Endpoint(
        name="anthropic", wire="anthropic", base_url="https://api.anthropic.com", key_env="ANTHROPIC_API_KEY"
    ),
}
ENDPOINT_FIELDS = {"wire", "base_url", "key_env", "structured"}
OWN_KINDS = ("local", "scripted")


class Opener:
    """Opens the providers of one run. `base_url` stands in place of a maker's own, and gets a key only if the
    configuration binds its host to one. Where nothing is `sending`, no key is needed. Raises ConfigError for what is
    wrong in the configuration.
    """

    def __init__(
        self,
        settings: Settings,
        local_model: LocalModel,
        *,
        base_url: str | None = None,
        sending: bool = True,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._settings = settings
        self._local_model = local_model
        self._environ = environ
        self._endpoints = {name: _endpoint(name, written) for name, written in settings.endpoints.items()}
        self._prices = {model: _price(model, written) for model, written in settings.prices.items()}
        self._base_url = base_url
        self._sending = sending

    def open_all(self, tasks: Sequence[Task], *, priced: bool, also: Iterable[str] = ()) -> dict[str, Provider]:
        """A provider for each model of the tasks, and for those that are wanted besides. Nothing is sent yet.

        Raises ModelError for a model that is unknown, has no key, lacks a field that a task sets, or has no price
        where `priced` asks for one.
        """
        providers: dict[str, Provider] = {}
        for model in dict.fromkeys([*(task.model for task in tasks), *also]):
            providers[model] = self.open_provider(model)
            if priced and providers[model].price is None:
                raise ModelError(
                    f"{model} has no known price, and max_total_cost is set",
                    f"add it under `prices:` in the configuration, as {model}: {{input: 1.0, output: 2.0}}",
                )
        for task in tasks:
            self._check_fields(task)
        if self._base_url is not None and not any(self._is_maker(model.partition(":")[0]) for model in providers):
            raise ModelError(
                "a base URL is given, and no task's model is an openai: or anthropic: one",
                "leave it out: the others have their own address",
            )
        return providers

    def open_provider(self, name: str) -> Provider:
        kind, _, model_id = name.partition(":")
        if kind == "scripted":
            return ScriptedProvider(model_id, self._script(model_id))
        if kind == "local":
            from xz_magics.providers.embedded import EmbeddedProvider

            gguf = model_id or self._environ.get("XZ_MAGICS_GGUF")
            path = _expanded(gguf) if gguf else None
            return EmbeddedProvider(name, self._local_model, path, cache_dir(self._environ))
        endpoint = self._endpoint_of(kind, model_id, name)
        from xz_magics.providers.http import HttpProvider

        return HttpProvider(
            model=name,
            model_id=model_id,
            endpoint=endpoint,
            wire=WIRES[endpoint.wire](),
            key=self._key_of(endpoint),
            price=price_of(kind, model_id, self._prices),
        )

    def secrets(self) -> set[str]:
        """The values of all keys that are set: no template may insert them."""
        endpoints = (*MAKERS.values(), *self._endpoints.values())
        keys = {self._environ.get(endpoint.key_env or "", "").strip() for endpoint in endpoints}
        return keys - {""}

    def _endpoint_of(self, kind: str, model_id: str, name: str) -> Endpoint:
        known = {**MAKERS, **self._endpoints}
        if kind not in known:
            names = [*OWN_KINDS, *known]
            close = get_close_matches(kind, names, n=1, cutoff=0.75)
            mend = (
                f"did you mean {close[0]}:{model_id}?"
                if close
                else f"write PROVIDER:{model_id or name}; there are {_listed(names)}"
            )
            raise ModelError(f"no provider is called {kind!r}, in the model {name!r}", mend)
        if not model_id:
            raise ModelError(f"{name!r} names no model", f"write {kind}:MODEL")
        if not self._is_maker(kind):
            return known[kind]
        if self._base_url is None:
            base_url = self._environ.get(f"{kind.upper()}_BASE_URL") or known[kind].base_url
            return replace(known[kind], base_url=base_url)
        moved = Endpoint(name=kind, wire=kind, base_url=self._base_url)
        there = [own for own in self._endpoints.values() if (own.scheme, own.host) == (moved.scheme, moved.host)]
        return replace(
            moved,
            key_env=next((own.key_env for own in there if own.key_env), None),
            knows_schemas=all(own.knows_schemas for own in there),
        )

    def _is_maker(self, kind: str) -> bool:
        """Whether models of this kind answer at their maker's address, or where a base URL says."""
        return kind in MAKERS and kind not in self._endpoints

    def _key_of(self, endpoint: Endpoint) -> str | None:
        if endpoint.key_env is None:
            return None
        key = checked_key(self._environ.get(endpoint.key_env), endpoint)
        if key is None and self._sending and not endpoint.on_this_machine:
            raise ModelError(
                f"{endpoint.name}: needs a key, and {endpoint.key_env} is not set in the environment",
                f"set {endpoint.key_env} before Jupyter starts, or take --model local, which needs no key",
            )
        return key

    def _script(self, name: str) -> Script:
        if not name:
            return Script()
        if name not in self._settings.scripts:
            raise ModelError(
                f"no script is called {name!r}",
                f"known are {_listed(self._settings.scripts)}; scripts stand under `scripts:` in the configuration",
            )
        return script_of(self._settings.scripts[name], where=name)

    def _check_fields(self, task: Task) -> None:
        kind = task.model.partition(":")[0]
        wire = "openai" if kind == "local" else self._endpoints[kind].wire if kind in self._endpoints else kind
        if wire not in WIRES:
            return
        wanted = WIRES[wire]()
        missing = [name for name in sorted(wanted.unsupported) if getattr(task, name) not in {None, ()}]
        if missing:
            raise ModelError(f"task {task.label!r}: {task.model} knows no {missing[0]!r}", f"leave {missing[0]} out")
        ours = sorted(wanted.reserved & set(task.params))
        if ours:
            told = f"task {task.label!r}: params hold {ours[0]!r}, which is not passed on"
            raise ModelError(told, f"take {ours[0]} out: the run itself decides it, or a field of its own does")
        if task.schema is not None and (form := own_form(task.params)) is not None:
            told = f"task {task.label!r}: params hold {form!r}, and the task has a schema: an answer has one form"
            raise ModelError(told, f"take {form} out of params, or leave out `schema`")
        if wire == "anthropic" and task.allowed_tools and "thinking" in task.params:
            told = f"task {task.label!r}: thinking and tools do not go together yet"
            raise ModelError(told, "leave out `thinking` in params, or the tools")


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ModelError(f"{path}: {error}", "write the whole path of the GGUF file") from error


def _endpoint(name: str, written: Mapping[str, Any]) -> Endpoint:
    """No message shows a value: it may be a key that stands in the wrong place.

    `structured: false` is for servers that know no `response_format` or `output_config`: see Endpoint.
    """
    if name in OWN_KINDS or ":" in name:
        raise ConfigError(f"an endpoint cannot be called {name!r}", "give it another name, without a colon")
    fine = {"wire", "base_url"} <= set(written) <= ENDPOINT_FIELDS and all(
        isinstance(value, bool if field == "structured" else str) for field, value in written.items()
    )
    if not fine or written["wire"] not in WIRES or not written.get("key_env", "NONE").isidentifier():
        raise ConfigError(
            f"endpoint {name!r} is not written as it should be",
            f"give {name}: {{wire: openai or anthropic, base_url: https://…, key_env: NAME_OF_A_VARIABLE}}, "
            "and structured: false where the server knows no schemas",
        )
    return Endpoint(
        name=name,
        wire=written["wire"],
        base_url=written["base_url"],
        key_env=written.get("key_env"),
        knows_schemas=written.get("structured", True),
    )


def _price(model: str, written: Mapping[str, Any]) -> FlatPrice:
    if ":" not in model:
        raise ConfigError(f"a price is given for {model!r}, which no model is called", "write PROVIDER:MODEL")
    return flat_price(written, model)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
