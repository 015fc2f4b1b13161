"""How much room a turn needs: the most tokens of its prompt and its answer, and what is kept free after it."""

import json
from dataclasses import asdict, dataclass, replace
from decimal import Decimal

from xz_magics.prices import Price
from xz_magics.providers import Provider
from xz_magics.quotas import Tracker, prompt_bound
from xz_magics.records import Message, Request, Task, ToolSpec, Usage

FORM_TOKENS = 16
"""The most that a chat form puts around one message more: marks, role, name."""

NOTE_TOKENS = 512
"""The most that the word of the last turn has."""

LEAST_TOKENS = 16
"""Below this an answer is none: a last turn asks for no less, and waits or fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """In tokens, what one attempt may use; `spare`, for one turn more, is asked for with it and given back."""

    prompt: int
    answer: int
    spare: int = 0

    @property
    def tokens(self) -> int:
        return self.prompt + self.answer + self.spare

    def worst_cost(self, price: Price | None) -> Decimal:
        if price is None:
            return Decimal(0)
        again = price.worst(self.spare - self.answer, self.answer) if self.spare else Decimal(0)
        return price.worst(self.prompt, self.answer) + again


class Needs:
    """The needs of one conversation; they are known better with each reply that tells its usage.

    What `params` pass through, such as the schema of an answer, is a part of the prompt for some providers.
    """

    def __init__(self, task: Task, provider: Provider, tracker: Tracker, tools: tuple[ToolSpec, ...]) -> None:
        self._max_tokens = task.max_tokens
        self._price = provider.price
        self._tracker = tracker
        self._forms = provider.overhead_tokens
        if task.params:
            self._forms += len(json.dumps(task.params, default=str))
        if tools:
            offers = sum(len(json.dumps(asdict(tool)).encode()) for tool in tools)
            self._forms += provider.tools_overhead_tokens + offers
        if task.schema is not None:
            self._forms += provider.schema_overhead_tokens + len(json.dumps(task.schema.json))
        self._last_usage: Usage | None = None
        self._counted = 0

    def note_reply(self, request: Request, usage: Usage | None) -> None:
        self._last_usage, self._counted = usage, len(request.messages)

    def room_for(self, request: Request) -> Room:
        """From the second turn on: what the last one reported, the bytes added since, the wire's constants."""
        if self._last_usage is None:
            prompt = sum(map(self._bound_of, request.messages), self._forms)
            prompt += FORM_TOKENS * max(0, len(request.messages) - 2)
        else:
            # The assistant's message since then is the reply that was reported.
            added = [message for message in request.messages[self._counted :] if message.role != "assistant"]
            prompt = prompt_bound(added, self._forms) + FORM_TOKENS * len(added) + self._last_usage.total_tokens
        goes_on = request.tools and request.may_call
        spare = prompt + 2 * request.max_tokens + self._forms + NOTE_TOKENS if goes_on else 0
        return Room(prompt=prompt, answer=request.max_tokens, spare=spare)

    def fitted(self, request: Request) -> Request:
        """A last turn after others, with as many tokens for its answer as a quota has left; others as they are."""
        if request.may_call or not request.tools:
            return request
        prompt = self.room_for(request).prompt
        fits = float(request.max_tokens)
        if (tokens := self._tracker.left("max_total_tokens")) is not None:
            fits = min(fits, tokens - prompt)
        if self._price is not None and (usd := self._tracker.left("max_total_cost")) is not None:
            before, after = self._price.worst(prompt, 0), self._price.worst(prompt, request.max_tokens)
            if after > Decimal(usd) and after > before:
                fits = min(fits, float((Decimal(usd) - before) / (after - before)) * request.max_tokens - 1)
        return replace(request, max_tokens=max(min(LEAST_TOKENS, request.max_tokens), int(fits)))

    def _bound_of(self, message: Message) -> int:
        """An answer has no more tokens than it was let have, however many bytes it has."""
        bound = prompt_bound([message], 0)
        return min(bound, self._max_tokens) if message.role == "assistant" else bound

    def bytes_for_results(self, count: int) -> int | None:
        """How many bytes the results of so many calls may have, so that an answer still fits after them; None: any."""
        left = self._tracker.left("max_total_tokens")
        if left is None or self._last_usage is None:
            return None
        answer = self._forms + NOTE_TOKENS + FORM_TOKENS * count + self._max_tokens
        return max(0, int(left) - self._last_usage.total_tokens - answer)
