"""Which process a record belongs to, and whether that process still lives: it alone reads /proc for it."""

import os
from pathlib import Path

BOOT = Path("/proc/sys/kernel/random/boot_id")

STRANGE_S = 3600.0
"""After so long without a sign of it a process that cannot be seen from here, as in another container, is dead."""


def this_owner() -> str:
    """The process as text: boot, space of process numbers, number, and when it began, in ticks since the boot.

    Raises OSError where /proc cannot be read.
    """
    return " ".join([_boot(), _space(), str(os.getpid()), _began(os.getpid())])


def is_alive(owner: str, silent_s: float = 0.0) -> bool:
    """Whether that process may still be at work; `silent_s`: for so long there was no sign of it."""
    match owner.split(" "):
        case [boot, space, number, began]:
            try:
                if boot != _boot():
                    return False
                if space == _space():
                    return began != "" and _began(int(number)) == began
            except OSError:  # without /proc none can be seen
                pass
            return silent_s <= STRANGE_S
    return False


def _boot() -> str:
    return BOOT.read_text(encoding="ascii").strip()


def _space() -> str:
    return os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - it is no path


def _began(number: int) -> str:
    """Empty where no such process is. What stands in brackets is the program's name, which may hold anything."""
    try:
        told = Path(f"/proc/{number}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    state, *numbers = told.rpartition(")")[2].split()
    return "" if state in {"Z", "X"} else numbers[18]
