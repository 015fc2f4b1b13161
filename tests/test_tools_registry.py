"""The tools that there are, and lists that narrow them."""

import json

import pytest
from test_loading import LOADED, printed

from xz_magics.errors import SpecError
from xz_magics.tools.function import tool_of
from xz_magics.tools.registry import Registry, Toolbox


def called(name, text="x"):
    def function():
        return text

    return tool_of(function, name=name)


READ, WRITE, SPAWN = called("read_file"), called("write_file"), called("spawn_subagent")
ALL = Registry([WRITE, SPAWN, READ])


def test_a_registry_is_a_mapping_in_alphabetical_order():
    assert list(ALL) == ["read_file", "spawn_subagent", "write_file"]
    assert (len(ALL), "read_file" in ALL, "x" in ALL) == (3, True, False)
    assert ALL["read_file"] is READ
    assert list(ALL.values()) == [READ, SPAWN, WRITE]
    assert repr(ALL) == "Registry(read_file, spawn_subagent, write_file)"


def test_only_and_without_give_other_registries_and_leave_theirs_as_it_is():
    assert list(ALL.only(["write_file", "read_file"])) == ["read_file", "write_file"]
    assert list(ALL.without(["read_file"])) == ["spawn_subagent", "write_file"]
    assert list(ALL.only("read_file")) == ["read_file"]
    assert list(ALL.without("read_file")) == ["spawn_subagent", "write_file"]
    assert list(ALL.only([])) == []
    assert len(ALL) == 3


def test_a_list_takes_the_tools_that_delegate_out_like_any_other():
    assert "spawn_subagent" not in ALL.only(["read_file"])
    assert "spawn_subagent" not in ALL.without(["spawn_subagent"])


@pytest.mark.parametrize(
    "use",
    [
        lambda name: ALL[name],
        lambda name: ALL.only([name]),
        lambda name: ALL.without([name]),
        lambda name: Toolbox(ALL).only(["read_file", name]),
        lambda name: Toolbox(ALL).without([name]),
    ],
)
def test_an_unknown_name_is_an_error_that_suggests_a_known_one(use):
    with pytest.raises(SpecError) as caught:
        use("raed_file")

    assert caught.value.message == "no tool is called 'raed_file'"
    assert caught.value.hint == "did you mean read_file? there are: read_file, spawn_subagent, write_file"


def test_an_error_about_a_name_is_short_however_long_the_name():
    with pytest.raises(SpecError) as caught:
        Registry()["x" * 1_000_000]

    assert len(str(caught.value)) < 100
    assert caught.value.hint == "there are none"


def test_with_tools_puts_a_new_one_in_the_place_of_the_old_one():
    newer = called("read_file", "newer")

    more = ALL.with_tools(newer, called("weather"))

    assert (more["read_file"], ALL["read_file"], len(more)) == (newer, READ, 4)


def test_a_cell_that_is_run_again_replaces_its_tool():
    toolbox = Toolbox(ALL)
    before = toolbox.registry
    toolbox.add(called("weather", "rain"))
    newer = called("weather", "sun")

    toolbox.add(newer)

    assert toolbox.registry["weather"] is newer
    assert set(toolbox.registry) == {*ALL, "weather"}
    assert list(before) == list(ALL)


def test_a_built_in_tool_stays_what_it_is():
    toolbox = Toolbox(ALL)

    with pytest.raises(SpecError) as caught:
        toolbox.add(called("read_file"))

    assert toolbox.registry["read_file"] is READ
    assert caught.value.message == "read_file is a built-in tool"
    assert "another name" in caught.value.hint


def test_a_toolbox_without_built_in_tools_begins_empty():
    toolbox = Toolbox()
    toolbox.add(READ)

    assert list(toolbox.registry) == ["read_file"]
    assert list(toolbox.only(["read_file"])) == ["read_file"]
    assert list(toolbox.without(["read_file"])) == []


def test_the_room_of_tools_loads_nothing_heavy_before_the_first_function_becomes_a_tool():
    before, after = printed(f"""
from xz_magics.tools import Tool, granted, registry, rights
from xz_magics.tools.function import ToolDecorator
toolbox = registry.Toolbox()
tool = ToolDecorator(toolbox.add, lambda: None)
{LOADED}

@tool
def weather(city: str): "The weather."
{LOADED}
""")

    assert (json.loads(before), json.loads(after)) == ([], ["pydantic"])
