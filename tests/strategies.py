"""What tests build runs from: scripted models, and the events and outcomes of a run of them."""

import asyncio
import time
from pathlib import Path
from random import Random

from xz_magics.agent import Surroundings
from xz_magics.engine import Run
from xz_magics.events import Stream
from xz_magics.outcomes import Outcomes
from xz_magics.pacing import Gates
from xz_magics.providers.scripted import Script, ScriptedProvider, Step
from xz_magics.quotas import Tracker
from xz_magics.records import Quota, Task
from xz_magics.tools.delegating import DELEGATING
from xz_magics.tools.function import tool_of
from xz_magics.tools.granted import Cache, Granted
from xz_magics.tools.registry import Registry


def task(label="one", model="scripted:", index=0, **fields):
    return Task(index=index, label=label, model=model, **({"prompt": "Say hi.", "max_tokens": 100} | fields))


def answering(*steps, name="", **script):
    """A provider that takes these steps in turn; a plain text is an answer of it."""
    plain = tuple(step if isinstance(step, Step) else Step(answer=step) for step in steps)
    return ScriptedProvider(name, Script(steps=plain, **script))


def granting(tools, workspace=Path()):
    """What rights come to where these functions are the tools, beside those that delegate."""
    registry = Registry([*map(tool_of, tools), *DELEGATING])
    cache = Cache(time.monotonic)
    return lambda rights: Granted(
        registry, rights, workspace=workspace, unsafe_local=False, cache=cache, clock=time.monotonic
    )


class Ran:
    """A run of scripted models: `start` begins it, `ended` waits for its end."""

    def __init__(
        self,
        tasks,
        providers=None,
        *,
        quota=None,
        session=None,
        retries=2,
        beat=None,
        around=None,
        tools=(),
        workspace=Path(),
        **run,
    ):
        self.events = []
        self.outcomes = Outcomes()
        self.session = session or Tracker()
        self.tracker = self.session.child(quota or Quota())
        self._tasks = tasks
        self._providers = providers or {"scripted:": answering("hi")}
        self._settings = {"retries": retries, "random": Random(1)} | (around or {})
        self._run = {"granted": granting(tools, workspace)} | run
        self._beat = beat

    async def to_the_end(self):
        self.start()
        return await self.ended()

    def start(self):
        stream = Stream("test", critical=[self.outcomes], observers=[self.events.append])
        gates = Gates(max_concurrent=self._run.get("max_concurrent", 5))
        around = Surroundings(tracker=self.tracker, gates=gates, emit=stream.emit, **self._settings)
        self.engine = Run(self._tasks, self._providers, around, **self._run)
        self.job = asyncio.ensure_future(self.engine.execute(self._beat))
        return self

    async def ended(self):
        await asyncio.wait_for(self.job, 20)
        return self.outcomes.roots()
