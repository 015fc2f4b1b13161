"""What the user wrote, in whatever form, as checked specs with line numbers; this room alone knows the forms."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from json import JSONDecodeError
from typing import Any

from xz_magics.errors import SpecError
from xz_magics.records import Quota, Task
from xz_magics.specs.documents import Document, Spec, document
from xz_magics.specs.fields import LIMITS, checked
from xz_magics.specs.json_text import read_json
from xz_magics.specs.nodes import HALF, InText, InValue, Node, Source, half_character, sendable, written_twice
from xz_magics.specs.plain_text import has_separators, read_plain
from xz_magics.specs.tables import is_list
from xz_magics.specs.values import read_entries, read_value

__all__ = ["Document", "Spec", "check_options", "parse", "read"]

Work = str | Mapping[str, Any] | Sequence[str | Mapping[str, Any] | Task]

_LIKE_JSON = re.compile(r'\s*(?:\{\s*"|\[\s*[\[{"])')


def parse(text: str, *, form: str | None = None) -> Document:
    """The text of a cell's body. `form` is "json", "yaml" or "text"; without it the text itself decides:

    JSON where it begins with `{` or `[` and is JSON; plain prompts where lines `--- label`, or `---` after some text,
    separate them; else YAML. Raises SpecError.
    """
    source = Source(text)
    start = InText(source, 0)
    if half := HALF.search(text):
        raise half_character(half[0], InText(source, half.start()))
    if not sendable(text, start).strip():
        raise start.error("the cell is empty", "write a prompt, lines such as `label: prompt`, YAML or JSON")
    return document(*_tree(source, form))


def read(work: Work, *, form: str | None = None) -> Document:
    """What `run` takes: a text is parsed; a mapping or a list is read by the same rules. Raises SpecError."""
    if isinstance(work, str):
        return parse(work, form=form)
    if form is not None:
        raise SpecError(f"form {form!r} is for texts, not for {type(work).__name__}", "leave it out")
    return document(read_value(work, "work"), "values")


def check_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """A cell's options or a call's keyword arguments, checked by the one table of fields; None is not given.

    Limits such as max_total_tokens come back within `quota`, a list of models within `matrix`. Raises SpecError.
    """
    options = checked(read_entries(_with_models(values), ""), "option")
    limits = {name: options.pop(name) for name in LIMITS if name in options}
    quota = options.get("quota", Quota())
    for name in limits:
        if getattr(quota, name) is not None:
            raise written_twice(name, InValue(""), InValue(""))
    return options | {"quota": replace(quota, **limits)} if limits else options


def _with_models(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Several models are a variable of the matrix."""
    models, matrix = values.get("model"), values.get("matrix") or {}
    if not is_list(models) or not isinstance(matrix, Mapping):
        return values
    if "model" in matrix:
        raise written_twice("model", InValue(""), InValue(""))
    return {**values, "model": None, "matrix": {**matrix, "model": models}}


def _tree(source: Source, form: str | None) -> tuple[Node, str]:
    match form:
        case None:
            return _by_its_look(source)
        case "json":
            try:
                return _json(source), form
            except JSONDecodeError as error:
                raise _no_json(source, error) from error
        case "yaml":
            return _yaml(source), form
        case "text":
            return read_plain(source), form
    raise SpecError(f"no form is called {form!r}", "choose json, yaml or text")


def _by_its_look(source: Source) -> tuple[Node, str]:
    no_json = None
    if source.text.lstrip(" \t\r\n").startswith(("{", "[")):
        try:
            return _json(source), "json"
        except JSONDecodeError as error:
            no_json = error
    if has_separators(source):
        return read_plain(source), "text"
    try:
        return _yaml(source), "yaml"
    except SpecError as no_yaml:
        if no_json is None or not _LIKE_JSON.match(source.text):
            raise
        raise _no_json(source, no_json) from no_yaml


def _json(source: Source) -> Node:
    return read_json(source.text, lambda offset: InText(source, offset))


def _yaml(source: Source) -> Node:
    from xz_magics.specs.yaml_text import read_yaml

    return read_yaml(source)


def _no_json(source: Source, error: JSONDecodeError) -> SpecError:
    return source.error(error.pos, f"this is no JSON: {error.msg}", "mend it here; plain prompts need --format text")
