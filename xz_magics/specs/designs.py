"""Checks of what makes many tasks of one: matrix, foreach, repeat."""

from typing import Any

from xz_magics.specs.nodes import Node


def matrix(node: Node, name: str) -> Any:
    raise node.error(f"{name} is not supported yet", "take it out")


def combinations(node: Node, name: str) -> Any:
    raise node.error(f"{name} is not supported yet", "take it out")


def foreach(node: Node, name: str) -> Any:
    raise node.error(f"{name} is not supported yet", "take it out")
