"""Completion in `%%subagents` cells: it alone knows IPython's matchers."""

import logging
from typing import Any

from IPython.core.interactiveshell import InteractiveShell

from xz_magics.magics.suggestions import Suggestions, is_ours, suggest

logger = logging.getLogger("xz_magics")

ID = "xz_magics"


def register(shell: InteractiveShell) -> None:
    try:
        from IPython.core.completer import SimpleCompletion, context_matcher
    except ImportError:
        logger.info("this IPython is too old to complete %%subagents cells")
        return

    @context_matcher(identifier=ID)  # type: ignore[untyped-decorator]  # IPython's carry no types
    def match(context: Any) -> dict[str, Any]:
        try:
            found = _suggest(context, shell)
        except Exception:
            # At every key: a setting that is wrong is told where a cell runs, and stderr would be some cell's output.
            logger.debug("no completion", exc_info=True)
            found = None
        if found is None:
            return {"completions": []}
        completions = [SimpleCompletion(text=text, type="keyword") for text in found.texts]
        return {"completions": completions, "matched_fragment": found.fragment, "suppress": True, "ordered": True}

    shell.Completer.custom_matchers.append(match)


def unregister(shell: InteractiveShell) -> None:
    matchers = shell.Completer.custom_matchers
    matchers[:] = [matcher for matcher in matchers if getattr(matcher, "matcher_identifier", "") != ID]


def _suggest(context: Any, shell: InteractiveShell) -> Suggestions | None:
    if not is_ours(context.full_text):
        return None
    from xz_magics.magics.known import Names

    return suggest(context.full_text, context.cursor_line, context.cursor_position, Names(shell))
