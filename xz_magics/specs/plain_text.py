"""Plain prompts as nodes: texts below lines `---` or `--- label`, taken as they stand."""

import re

from xz_magics.specs.nodes import InText, Node, Source

_SEPARATOR = re.compile(r"^---(?![^ \t\r\n])(.*)$", re.MULTILINE)


def has_separators(source: Source) -> bool:
    """Whether a line `--- label` stands anywhere, or a line `---` after some text."""
    return any(found[1].strip() or source.text[: found.start()].strip() for found in _SEPARATOR.finditer(source.text))


def read_plain(source: Source) -> Node:
    """A list of mappings with `prompt` and perhaps `label`; text before the first separator is a prompt too."""
    separators = list(_SEPARATOR.finditer(source.text))
    ends = [*(separator.start() for separator in separators), len(source.text)]
    before = _trimmed(source, 0, ends[0])
    items = [Node(place=before.place, value={"prompt": before})] if before.value else []
    for separator, end in zip(separators, ends[1:], strict=True):
        prompt = _trimmed(source, separator.end(), end)
        label = _trimmed(source, separator.start(1), separator.end(1))
        entries = {"prompt": prompt, "label": label} if label.value else {"prompt": prompt}
        items.append(Node(place=InText(source, separator.start()), value=entries))
    return Node(place=InText(source, 0), value=items)


def _trimmed(source: Source, start: int, end: int) -> Node:
    """The text between two offsets without the space around it; where it is empty, it stands at the end."""
    stripped = source.text[start:end].lstrip()
    return Node(place=InText(source, end - len(stripped)), value=stripped.rstrip(), text=stripped.rstrip())
