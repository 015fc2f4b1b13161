"""The two rules of the house: imports go down only, and each library has one door."""

import ast
import re
from pathlib import Path

import pytest

import xz_magics

ROOT = Path(xz_magics.__file__).parent

FLOORS = [
    {"records"},
    {"bursts", "characters", "errors", "metrics", "interrupt", "keys", "loops", "ratelimits"},
    {"schemas"},
    {"specs", "config", "quotas", "pacing", "retry", "prices", "stats", "events", "templates", "options"},
    {"scores", "tools", "providers", "frames", "fanout"},
    {"plan", "agent", "executors", "outcomes", "observers"},
    {"engine", "views", "bills"},
    {"results"},
    {"runs"},
    {"session"},
    {"api"},
    {"background"},
    {"magics"},
    {"__init__", "__main__"},
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

DOORS = {
    "httpx": {"providers/http.py"},
    "httpx_aiohttp": {"providers/http.py"},
    "aiohttp": {"providers/http.py"},
    "pandas": {
        "frames/__init__.py",
        "frames/answers.py",
        "frames/comparing.py",
        "frames/scores.py",
        "frames/trials.py",
    },
    "ipywidgets": {"views/widget.py"},
    "anywidget": {"views/widget.py"},
    "PIL": {"views/plots/figure.py"},
    "matplotlib": {
        "views/plots/arms.py",
        "views/plots/figure.py",
        "views/plots/histograms.py",
        "views/plots/timeline.py",
    },
    "IPython": {"magics/__init__.py", "magics/awaiting.py", "magics/completion.py", "views/widget.py", "__main__.py"},
    "nest_asyncio2": {"api/__init__.py"},
    "pydantic": {"schemas/signatures.py", "schemas/answers.py"},
    "pydantic_core": {"schemas/signatures.py", "schemas/answers.py"},
    "typing_extensions": {"schemas/signatures.py"},
    "jsonschema": {"schemas/answers.py"},
    "jsonpath": {"scores/rules.py"},
    "scipy": {"stats/intervals.py", "stats/tests.py", "stats/power.py"},
    "genai_prices": {"prices.py"},
    "platformdirs": {"config/files.py", "observers/journal/placing.py"},
    "xllamacpp": {"providers/local_server.py"},
    "ruamel": {"specs/yaml_text.py", "config/files.py"},
    "sqlite3": {f"observers/journal/{name}.py" for name in ("ledger", "opening", "spending", "store")},
    "prometheus_client": {"observers/prometheus.py"},
    "distributed": {"executors/dask.py"},
}


def files():
    return sorted(ROOT.rglob("*.py"))


def room_of(path):
    relative = path.relative_to(ROOT)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports_of(path):
    """Every module that a file names in an import, wherever the import stands; `from a import b` gives a.b too."""
    package = ["xz_magics", *path.relative_to(ROOT).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def own_rooms(path):
    for name in imports_of(path):
        match name.split("."):
            case ["xz_magics", room, *_] if (ROOT / f"{room}.py").exists() or (ROOT / room).is_dir():
                yield room


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_has_a_floor_and_imports_only_what_is_below_it(path):
    here = room_of(path)
    assert here in FLOOR, f"{here} stands on no floor"
    for other in set(own_rooms(path)) - {here}:
        assert FLOOR[other] < FLOOR[here], (
            f"{path.relative_to(ROOT)} (floor {FLOOR[here]}) imports {other} ({FLOOR[other]})"
        )


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_each_library_has_one_door(path):
    here = str(path.relative_to(ROOT))
    for name in imports_of(path):
        library = name.split(".")[0]
        assert here in DOORS.get(library, {here}), f"{here} imports {library}; its door is {DOORS[library]}"


def test_a_file_opens_with_one_sentence_about_itself():
    for path in files():
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert docstring, path
        assert re.search(r"\w", docstring.splitlines()[0]), path


def test_the_layer_test_sees_deferred_and_relative_imports(tmp_path, monkeypatch):
    (tmp_path / "records.py").write_text("def f():\n    from . import api\n")
    (tmp_path / "api.py").write_text('"""x"""')
    monkeypatch.setattr("test_layers.ROOT", tmp_path)
    assert list(own_rooms(tmp_path / "records.py")) == ["api"]
