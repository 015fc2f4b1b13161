"""Which tools may be used, and with which words; this file alone knows how rights are written and narrowed."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from xz_magics.errors import SpecError
from xz_magics.keys import shown
from xz_magics.tools.registry import Registry

MOST_GRANT_CHARACTERS = 10_000

_GRANT = re.compile(r"(?P<name>[a-zA-Z0-9_-]{1,64})\s*(?:\((?P<words>[^()]*)\))?")
_WORD = re.compile(r"[^\s,()]{1,255}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The right to use a tool. Its words, such as hosts, each permit more; without any, nothing that needs one."""

    name: str
    params: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.name}({', '.join(sorted(self.params))})" if self.params else self.name


def parse_grant(text: str) -> Grant:
    """Reads `name` or `name(word, …)`. Raises SpecError."""
    found = _GRANT.fullmatch(text.strip()) if len(text) <= MOST_GRANT_CHARACTERS else None
    words = [] if found is None or found["words"] is None else [word.strip() for word in found["words"].split(",")]
    if found is None or not all(map(_WORD.fullmatch, words)):
        raise SpecError(
            f"{shown(text)} grants no tool", "write a tool's name, or its name with words: http_get(docs.python.org)"
        )
    return Grant(name=found["name"], params=frozenset(words))


@dataclass(frozen=True, slots=True)
class Rights:
    """A set of grants, at most one for each tool: name -> words. `a & b` is what both permit, `a <= b`: b permits all.

    What a subagent may do is `parent & spec & policy`: with each `&` it only gets less.
    """

    words: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Rights":
        """Grants as they are written; the words of two grants of one tool add up. Raises SpecError."""
        words: dict[str, frozenset[str]] = {}
        for grant in map(parse_grant, texts):
            words[grant.name] = words.get(grant.name, frozenset()) | grant.params
        return cls(words)

    def only(self, names: Iterable[str]) -> "Rights":
        kept = {names} if isinstance(names, str) else set(names)
        return Rights({name: words for name, words in self.words.items() if name in kept})

    def within(self, policy: "Rights") -> "Rights":
        """What a policy leaves: as `&`, but a tool that stands there without words is not bound in its words."""
        return Rights(
            {
                name: words & policy.words[name] if policy.words[name] else words
                for name, words in self.words.items()
                if name in policy.words
            }
        )

    def __and__(self, other: "Rights") -> "Rights":
        return Rights({name: words & other.words[name] for name, words in self.words.items() if name in other.words})

    def __le__(self, other: "Rights") -> bool:
        return all(name in other.words and words <= other.words[name] for name, words in self.words.items())

    def __contains__(self, name: object) -> bool:
        return name in self.words

    def __iter__(self) -> Iterator[Grant]:
        """The grants, by name; `str` writes each as `of` reads it."""
        return iter([Grant(name=name, params=self.words[name]) for name in sorted(self.words)])

    def __len__(self) -> int:
        return len(self.words)


def check_grants(texts: Iterable[str], registry: Registry) -> Rights:
    """What these texts grant. Raises SpecError for an unknown tool, and for words that its tool does not take."""
    rights = Rights.of(texts)
    for grant in rights:
        tool = registry[grant.name]
        if grant.params and tool.params is None:
            raise SpecError(f"{shown(str(grant))}: {grant.name} takes no words", f"write {grant.name} alone")
        if tool.fault_of is not None and (fault := tool.fault_of(grant.params)) is not None:
            raise SpecError(f"{shown(str(grant))}: {fault}", f"its words are {tool.params}")
    return rights
