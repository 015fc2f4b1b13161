"""Checks of how outcomes are scored and put together."""

from typing import Any

from xz_magics.specs.nodes import Node


def score(node: Node, name: str) -> Any:
    raise node.error(f"{name} is not supported yet", "take it out")


def expect(node: Node, name: str) -> Any:
    raise node.error(f"{name} is not supported yet", "take it out")


def combine(node: Node, name: str) -> Any:
    raise node.error(f"{name} is not supported yet", "take it out")
