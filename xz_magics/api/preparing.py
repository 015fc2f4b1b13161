"""What is checked and decided of a run before anything of it happens: no loop is needed, and nothing is sent."""

import asyncio
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from os import PathLike
from typing import Any

from xz_magics import scores, specs
from xz_magics.api.granting import Granting, Tools
from xz_magics.api.recollecting import LATEST, Recollection
from xz_magics.config import Settings, changed
from xz_magics.errors import JournalError, NestingError, SpecError
from xz_magics.events import AlertRaised, Observer
from xz_magics.keys import SHORTEST_KEY
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
    """A run that can begin. `on_kernel` names the granted tools that need the kernel's loop to be free.

    `work` is what was given to be done; `secrets` are the keys that no file may hold. `resume` is the run to go on
    from, by its id or the beginning of it, or "last".
    """

    work: Work
    plan: Plan
    providers: Mapping[str, Provider]
    settings: Settings
    granted: Callable[[Rights], Granted]
    observers: tuple[Observer, ...]
    on_result: Callable[[Outcome], None] | None
    on_alert: Callable[[AlertRaised], None] | None
    on_kernel: tuple[str, ...]
    secrets: frozenset[str] = frozenset()
    resume: str | None = None
    reuse: bool = False
    resend_unknown: bool = False
    recollection: Recollection | None = None
    journal_trouble: JournalError | None = None


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
    on_alert: Callable[[AlertRaised], None] | None = None,
    resume: str | bool | None = None,
    reuse: bool | None = None,
    resend_unknown: bool | None = None,
    sending: bool = True,
    **given: Any,
) -> Prepared:
    """Raises SpecError, ConfigError, ModelError or NestingError. `given` are options that tasks share.

    Where nothing is `sending`, the providers may lack their keys.
    """
    check_asyncio()
    if on_alert is not None and not callable(on_alert):
        raise SpecError(f"on_alert is {on_alert!r}", "give a function of one argument, the alert")
    resume = _resumed(resume, resend_unknown=bool(resend_unknown))
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
    _check_names(plan.tasks, opener.secrets())
    granting.check(plan.tasks)
    besides = scores.models(plan.tasks, plan.combine)
    providers = opener.open_all(plan.tasks, priced=_cost_is_limited(plan.quota), also=besides)
    return Prepared(
        work=work,
        plan=plan,
        providers=providers,
        settings=settings,
        granted=granting.grant(opener.secrets()),
        observers=tuple(observers),
        on_result=on_result,
        on_alert=on_alert,
        on_kernel=granting.on_kernel(plan.tasks),
        secrets=frozenset(opener.secrets()),
        resume=resume,
        reuse=bool(reuse),
        resend_unknown=bool(resend_unknown),
    )


def check_asyncio(version: tuple[int, ...] = sys.version_info[:2]) -> None:
    """From Python 3.14 on, asyncio no longer works with the tasks that nest_asyncio puts in the place of its own."""
    if version >= (3, 14) and hasattr(asyncio, "_nest_patched") and not hasattr(asyncio, "_nest_asyncio2"):
        raise NestingError(
            "nest_asyncio.apply() was called in this process, and asyncio does not work after it on Python 3.14",
            "restart the kernel, without it or with nest_asyncio2.apply() in its place",
        )


def _resumed(resume: object, *, resend_unknown: bool) -> str | None:
    if resume is None or resume is False:
        if resend_unknown:
            raise SpecError("resend_unknown is given without resume", "add the run that it is about: --resume")
        return None
    if resume is True:
        return LATEST
    if not isinstance(resume, str) or not resume.strip():
        raise SpecError(f"resume is {resume!r}", 'give the id of a run, or the beginning of one, or "last"')
    return resume.strip()


def _check_names(tasks: Iterable[Task], secrets: Collection[str]) -> None:
    """Labels and tags are shown and kept as they are. The message cannot quote them."""
    known = [secret for secret in secrets if len(secret) >= SHORTEST_KEY]
    for number, task in enumerate(tasks, 1):
        for name in (task.label, *task.tags):
            if any(secret in name for secret in known):
                told = f"task {number}: {'its label' if name == task.label else 'a tag of it'} holds a key"
                raise SpecError(told, "keys never go into a label or a tag")


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
    uses = session.quota.child(quota).uses(above=True)
    return any(use.name == "max_total_cost" and use.limit is not None for use in uses)
