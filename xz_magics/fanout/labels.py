"""What trials are called: words that tell rows, arms and repeats apart, short enough for a label."""

import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence

from xz_magics.specs.designs import Arm, Scalar

MOST = 80
MOST_OF_ARMS = 40
MOST_OF_ROW = 20


def cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def each_once(labels: Iterable[str], most: int = MOST) -> Iterator[str]:
    """The same, but one that looks like an earlier one gets a number."""
    seen: dict[str, int] = {}
    for label in labels:
        free = label
        while (look := folded(free)) in seen:
            seen[folded(label)] += 1
            number = f"~{seen[folded(label)]}"
            free = f"{cut(label, most - len(number))}{number}"
        seen[look] = 1
        yield free


def folded(label: str) -> str:
    """Labels that differ only in case, or in the way a character is composed, look the same in a table."""
    return unicodedata.normalize("NFKC", label).casefold()


def row_words(index: Sequence[str | int]) -> list[str]:
    """The rows' own names, where all are short and differ; else their numbers, from 0."""
    words = [_word(str(name), MOST_OF_ROW) for name in index]
    own = [word == str(name) for word, name in zip(words, index, strict=True)]
    return words if all(own) and _differ(words) else [str(number) for number in range(len(index))]


def arm_words(combinations: Sequence[Mapping[str, Arm]]) -> list[str]:
    """What tells each combination apart, in a few words; all empty where there is only one."""
    values = {name: list({arms[name].name: arms[name].name for arms in combinations}) for name in combinations[0]}
    varied = {name: found for name, found in values.items() if len(found) > 1}
    for of_numbers in (True, False):
        texts = {name: [_text(name, value, of_numbers=of_numbers) for value in found] for name, found in varied.items()}
        widths = _widths({name: max(map(len, found)) for name, found in texts.items()})
        if all(
            len(text) <= widths[name]
            for name, found in varied.items()
            for value, text in zip(found, texts[name], strict=True)
            if not isinstance(value, str)
        ):
            break
    words = {name: dict(zip(varied[name], _words(name, texts[name], widths[name]), strict=True)) for name in varied}
    told = [" ".join(words[name][arms[name].name] for name in varied) for arms in combinations]
    if len(told) == 1 or (_differ(told) and all(len(text) <= MOST_OF_ARMS for text in told)):
        return told
    return [f"arm-{number}" for number in range(1, len(told) + 1)]


def _text(variable: str, value: Scalar, *, of_numbers: bool) -> str:
    """A text as it is; another value behind the variable's name, if there is room for the names `of_numbers`."""
    if isinstance(value, str):
        return value
    return f"{variable}={json.dumps(value)}" if of_numbers else json.dumps(value)


def _widths(needs: Mapping[str, int]) -> dict[str, int]:
    """Who needs little gets all of it; the others share what is left."""
    left, widths = MOST_OF_ARMS - len(needs), {}
    for place, name in enumerate(sorted(needs, key=needs.__getitem__)):
        widths[name] = min(needs[name], left // (len(needs) - place))
        left -= widths[name]
    return widths


def _words(variable: str, texts: Sequence[str], width: int) -> list[str]:
    """The texts, if need be cut; numbers where that would not do."""
    words = [_word(text, width) for text in texts]
    return words if all(words) and _differ(words) else [f"{variable}-{number}" for number in range(1, len(texts) + 1)]


def _word(text: str, width: int) -> str:
    """On one line, cut to the width; empty where it holds what nobody sees."""
    text = " ".join(text[: 4 * width].split())
    if not text.isprintable():
        return ""
    return cut(text, width)


def _differ(words: Sequence[str]) -> bool:
    return len({folded(word) for word in words}) == len(words)
