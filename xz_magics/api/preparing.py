"""What is checked and decided of a run before anything of it happens: no loop is needed, and nothing is sent."""

import asyncio
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from os import PathLike
from typing import Any

from xz_magics import scores, specs
from xz_magics.api.granting import Granting, Tools
from xz_magics.config import Settings, changed
from xz_magics.errors import NestingError
from xz_magics.events import Observer
from xz_magics.plan import Plan, make_plan
from xz_magics.providers import Provider
from xz_magics.providers.local import installed
from xz_magics.providers.opening import Opener
from xz_magics.records import Outcome, Quota, Task
from xz_magics.session import session
from xz_magics.tools.granted import Granted
from xz_magics.tools.rights import Rights

LIMITS = tuple(limit.name for limit in fields(Quota))

Work = str | Mapping[str, Any] | Sequence[str | Mapping[str, Any] | Task]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A run that can begin. `on_kernel` names the granted tools that need the kernel's loop to be free."""

    plan: Plan
    providers: Mapping[str, Provider]
    settings: Settings
    granted: Callable[[Rights], Granted]
    observers: tuple[Observer, ...]
    on_result: Callable[[Outcome], None] | None
    on_kernel: tuple[str, ...]


def prepare(
    work: Work,
    *,
    quota: Quota | None = None,
    retries: int | None = None,
    stream: bool | None = None,
    base_url: str | None = None,
    format: str | None = None,  # noqa: A002 - the option's name
    names: Mapping[str, object] | None = None,
    tools: Tools | None = None,
    workspace: str | PathLike[str] | None = None,
    observers: Iterable[Observer] = (),
    on_result: Callable[[Outcome], None] | None = None,
    sending: bool = True,
    **given: Any,
) -> Prepared:
    """Raises SpecError, ConfigError, ModelError or NestingError. `given` are options that tasks share.

    Where nothing is `sending`, the providers may lack their keys.
    """
    check_asyncio()
    options = specs.check_options(given)
    settings = _settled(session.settings, retries=retries, stream=stream)
    opener = Opener(settings, session.local_model, base_url=base_url, sending=sending)
    document = specs.read(work, form=format)
    limits = specs.check_options({"quota": quota}).get("quota")
    options["quota"] = _tightest(document.head.get("quota"), options.get("quota"), limits)
    varied = {**document.head.get("matrix", {}), **options.get("matrix", {})}  # tools may be among what varies
    granting = Granting(document, varied | options, settings, tools=tools, workspace=workspace)
    plan = make_plan(
        document,
        settings=settings,
        options=options,
        names=names or {},
        tools=granting.registry,
        secrets=opener.secrets(),
    )
    granting.check(plan.tasks)
    besides = scores.models(plan.tasks, plan.combine)
    providers = opener.open_all(plan.tasks, priced=_cost_is_limited(plan.quota), also=besides)
    return Prepared(
        plan=plan,
        providers=providers,
        settings=settings,
        granted=granting.grant(opener.secrets()),
        observers=tuple(observers),
        on_result=on_result,
        on_kernel=granting.on_kernel(plan.tasks),
    )


def check_asyncio(version: tuple[int, ...] = sys.version_info[:2]) -> None:
    """From Python 3.14 on, asyncio no longer works with the tasks that nest_asyncio puts in the place of its own."""
    if version >= (3, 14) and hasattr(asyncio, "_nest_patched") and not hasattr(asyncio, "_nest_asyncio2"):
        raise NestingError(
            "nest_asyncio.apply() was called in this process, and asyncio does not work after it on Python 3.14",
            "restart the kernel, without it or with nest_asyncio2.apply() in its place",
        )


def _settled(settings: Settings, *, retries: int | None, stream: bool | None) -> Settings:
    given = {name: value for name, value in (("retries", retries), ("stream", stream)) if value is not None}
    model = settings.model or ("local" if installed() else None)
    return changed(replace(settings, model=model), given, "the options")


def _tightest(*quotas: Quota | None) -> Quota:
    """Of each limit the smallest that is given: none overrides another."""
    given = [quota for quota in quotas if quota is not None]
    limits = {name: [getattr(quota, name) for quota in given if getattr(quota, name) is not None] for name in LIMITS}
    return Quota(**{name: min(values, default=None) for name, values in limits.items()})


def _cost_is_limited(quota: Quota) -> bool:
    return quota.max_total_cost is not None or session.quota.quota.max_total_cost is not None
