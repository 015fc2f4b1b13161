"""A subagent's answer against its schema: the value that it holds, and the words that ask for it once more."""

import json
from typing import Any

from xz_magics.agent.texts import clip
from xz_magics.records import AnswerSchema, Message
from xz_magics.schemas import SchemaError
from xz_magics.schemas.answers import value_of
from xz_magics.tools.function import in_thread

AGAIN = (
    "Your answer does not fit the JSON schema that it has to fit:\n{faults}\n"
    "Answer again, with one JSON object that fits it and with nothing else. The schema:\n{schema}"
)

MOST_FAULT_BYTES = 1_000
"""Of what is wrong with an answer, for the model; a model class of the notebook may say anything at any length."""


class Checked:
    """What has come of the answer so far: its value, or the fault of the last text that was looked at."""

    def __init__(self, schema: AnswerSchema | None) -> None:
        self.schema = schema
        self.value: Any = None
        self.fault: SchemaError | None = None

    async def fits(self, text: str | None) -> bool:
        """Whether it does; it does where there is no schema. Its value is kept.

        It is looked at in a thread: a model class of the notebook may take its time, and a Stop does not wait for it.
        """
        self.fault = None
        if (schema := self.schema) is not None:
            try:
                self.value = await in_thread(lambda: value_of(schema, text or ""), "xz_magics answer")
            except SchemaError as error:
                self.fault = error
        return self.fault is None

    def asked_again(self) -> Message:
        schema = json.dumps(self.schema and self.schema.json, ensure_ascii=False)
        faults = "" if self.fault is None else clip(self.fault.message, MOST_FAULT_BYTES)
        return Message(role="user", content=AGAIN.format(faults=faults, schema=schema))

    def told(self, trouble: str | None) -> str:
        """For the row: why there is no value; `trouble` kept it from being asked for again."""
        why = "" if self.fault is None else self.fault.message
        if trouble is None:
            return f"the answer does not fit its schema, asked for twice: {why}\nreword the prompt, or widen the schema"
        return f"the answer does not fit its schema: {why}\nit was not asked for again: {trouble}"
