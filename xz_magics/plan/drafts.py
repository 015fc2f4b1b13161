"""One task as written with one combination of arms, complete but for its row: what wins over what, and the defaults."""

from collections.abc import Callable, Mapping
from typing import Any

from xz_magics import scores
from xz_magics.config import Settings
from xz_magics.errors import SpecError
from xz_magics.fanout import Combination
from xz_magics.records import AfterWhen, AnswerSchema, Scorer, Task
from xz_magics.schemas import answers
from xz_magics.specs import Spec
from xz_magics.specs.fields import is_varied

DEFAULT_MAX_TOKENS = 1024
LOCAL_MAX_TOKENS = 512


class Drafts:
    """`shared` are the fields of the head and the options; `names` are the notebook's.

    What a name of the notebook stands for is looked up once for all tasks.
    """

    def __init__(self, shared: Mapping[str, Any], settings: Settings, names: Mapping[str, object]) -> None:
        self._shared = shared
        self._settings = settings
        self._names = names
        self._resolved: dict[tuple[int, str], Any] = {}

    def draft(self, label: str, spec: Spec, combination: Combination) -> Task:
        """Raises SpecError."""
        own = dict(spec.fields) | ({"prompt": spec.prompt} if spec.prompt else {})
        varied = {name: arm.set_to for name, arm in combination.arms.items() if is_varied(name)}
        twice = [name for name in varied if name in own]
        if twice:
            told = f"task {label!r} has a `{twice[0]}` of its own, and the matrix varies it"
            raise SpecError(told, "take one of the two out", line=spec.line)
        try:
            return self._task(label, own | {name: value for name, value in varied.items() if value is not None})
        except SpecError as error:
            if error.line is not None:
                raise
            raise SpecError(error.message, error.hint, line=spec.line) from error

    def _task(self, label: str, own: Mapping[str, Any]) -> Task:
        settings = self._settings

        def chosen(name: str, otherwise: Any = None) -> Any:
            return own.get(name, self._shared.get(name, otherwise))

        model = chosen("model", settings.model)
        if model is None:
            raise SpecError(
                f"task {label!r} has no model, and none is configured",
                'name one, such as --model local (needs: pip install "xz-magics[local]") or --model openai:gpt-4o-mini',
            )
        if "prompt" not in own:
            raise SpecError(f"task {label!r} has no prompt", "add `prompt: …`, or let the matrix have no null there")
        default_max_tokens = LOCAL_MAX_TOKENS if model.split(":")[0] == "local" else DEFAULT_MAX_TOKENS
        stop = chosen("stop", ())
        return Task(
            index=0,
            label=label,
            prompt=own["prompt"],
            model=model,
            max_tokens=chosen("max_tokens", settings.max_tokens or default_max_tokens),
            system=chosen("system"),
            summary_prompt=chosen("summary_prompt"),
            allowed_tools=tuple(chosen("allowed_tools", ())),
            max_turns=chosen("max_turns", settings.default_max_turns),
            temperature=chosen("temperature"),
            top_p=chosen("top_p"),
            seed=chosen("seed"),
            stop=(stop,) if isinstance(stop, str) else tuple(stop),
            timeout=chosen("timeout", settings.timeout),
            idle_timeout=chosen("idle_timeout", settings.idle_timeout),
            params=chosen("params", {}),
            after=own.get("after", ()),
            after_when=_after_when(own, self._shared),
            tags=self._tags(chosen("tags", ())),
            schema=self._schema(chosen("schema")),
            scores=self._scores(chosen("score"), model),
            expect=chosen("expect"),
        )

    def _tags(self, written: tuple[str, ...]) -> tuple[str, ...]:
        user = self._settings.user
        return tuple(dict.fromkeys([*written, f"user:{user}"])) if user else written

    def _schema(self, written: Any) -> AnswerSchema | None:
        if written is None:
            return None
        schema: AnswerSchema = self._once(written, "", lambda: answers.resolved(written, self._names))
        return schema

    def _scores(self, written: Any, model: str) -> tuple[Scorer, ...]:
        if written is None:
            return ()
        scorers: tuple[Scorer, ...] = self._once(
            written, model, lambda: scores.resolved(written, self._names, model=model)
        )
        return scorers

    def _once(self, written: Any, model: str, resolve: Callable[[], Any]) -> Any:
        key = (id(written), model)
        if key not in self._resolved:
            self._resolved[key] = resolve()
        return self._resolved[key]


def _after_when(own: Mapping[str, Any], shared: Mapping[str, Any]) -> AfterWhen:
    """A task's own `after_any` wins over the head's `after_strict`, and the other way round."""
    for fields in (own, {**shared, **own}):
        if fields.get("after_strict"):
            return "done"
        if fields.get("after_any"):
            return "ended"
    return "text"
