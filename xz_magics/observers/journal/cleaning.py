"""What of an event may be written: the copy without keys, the copy without content, the copy to hand to somebody."""

import hashlib
import json
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from xz_magics.keys import SHORTEST_KEY, may_hold_a_key, without_keys

Cleaned = Callable[[Any], str]
"""From plain JSON values, as `to_json` makes them, to their text."""

_encoded = json.JSONEncoder(default=str, check_circular=False).encode

PLAIN = frozenset(
    {
        "@", "account", "after", "after_when", "allowed_tools", "call_id", "error_type", "field", "finish_reason", "id",
        "kind", "label", "labels", "level", "model", "name", "of", "parent", "purpose", "reason", "role", "run",
        "status", "tags", "tool", "tool_call_id",
    }
)  # fmt: skip
"""The fields whose texts are no content."""

HOMES = r"/(?:home|Users)/[^/\s\"'<>:;,()\[\]{}]+"
"""Other people's, too: their names are in them."""

WHOLE = frozenset({"value", "expect", "given", "row"})
"""The fields whose numbers and names, too, are content."""

UNREADABLE = frozenset({"dtypes", "scale"})
"""The mappings that are left empty: their values are read, and a hash would be none of these."""


def without_secrets(secrets: Collection[str] = ()) -> Cleaned:
    """With stars for these, and for all that looks like the key of an account."""
    long = sorted((secret for secret in secrets if len(secret) >= SHORTEST_KEY), key=len, reverse=True)
    known = re.compile("|".join(map(re.escape, long))) if long else None
    written = [json.dumps(secret)[1:-1] for secret in long]

    def cleaned(text: str) -> str:
        if known is not None:
            text = known.sub(lambda found: "*" * len(found[0]), text)
        return without_keys(text)

    def dumped(value: Any) -> str:
        """Most values hold none, which a look at the whole tells sooner than one at each text."""
        body = _encoded(value)
        if may_hold_a_key(body) or any(secret in body for secret in written):
            return json.dumps(_each_text(json.loads(body), cleaned))
        return body

    return dumped


def without_paths(folders: Collection[Path] = ()) -> Cleaned:
    """With `~` for each home directory, and for these folders, and without known forms of keys."""
    known = {form for folder in (Path.home(), *folders) for form in (folder, folder.resolve())}
    named = sorted((str(folder) for folder in known if folder.is_absolute() and folder.name), key=len, reverse=True)
    whole = [rf"{re.escape(name)}(?![\w-]|\.\w)" for name in named]
    path = re.compile("|".join([*whole, HOMES]))

    def cleaned(text: str) -> str:
        return without_keys(path.sub("~", text))

    return lambda value: json.dumps(_each_text(value, cleaned), default=str)


def without_content(value: Any) -> Any:
    """With the sha256 of each text that a person, a model or a tool wrote."""
    if isinstance(value, Mapping):
        kind = value.get("@")
        return {
            name: part if name in PLAIN and _is_plain(part) else _hidden(kind, name, part)
            for name, part in value.items()
        }
    if isinstance(value, list):
        return [without_content(part) for part in value]
    return _hash(value) if isinstance(value, str) else value


def _hidden(kind: object, name: str, value: Any) -> Any:
    """Of a field of a record of that kind. What stands in a mapping or a list of the user's is content, all of it."""
    if value is None or (kind == "AlertRaised" and name == "value"):
        return value
    if name in WHOLE or (isinstance(value, Mapping) and value.get("@") == "list"):
        return _hash(value)
    if isinstance(value, Mapping) and value.get("@") == "map":
        return {"@": "map", "of": _hidden_map(name, value["of"])}
    return without_content(value)


def _hidden_map(name: str, value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Scores are numbers by the names of scorers, and the names of a matrix's variables are in the labels, too."""
    if name == "scores":
        return value
    if name == "arms":
        return {arm: None if part is None else _hash(part) for arm, part in value.items()}
    return {"sha256": _hash(value)} if value and name not in UNREADABLE else {}


def _is_plain(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(part, str) for part in value))


def _hash(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _each_text(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {_each_text(name, change): _each_text(part, change) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_each_text(part, change) for part in value]
    return value
