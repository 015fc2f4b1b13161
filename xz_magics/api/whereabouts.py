"""Which notebook and which cell the present code stands in, as far as the kernel tells."""

import os
import sys
from typing import Any


def notebook_path() -> str | None:
    """None where nobody tells: Jupyter's server says it in the environment, VS Code in the notebook's names."""
    shell = _shell()
    named = None if shell is None else shell.user_ns.get("__vsc_ipynb_file__")
    return str(named or os.environ.get("JPY_SESSION_NAME") or "") or None


def cell_id() -> str | None:
    """The page's own id of the cell that is running; it stays when the cell is edited."""
    kernel = getattr(_shell(), "kernel", None)
    try:
        found = kernel.get_parent()["metadata"]["cellId"]  # type: ignore[union-attr]  # None has none either
    except (AttributeError, KeyError, TypeError, LookupError):
        return None
    return found if isinstance(found, str) else None


def _shell() -> Any:
    """Nothing is imported: where IPython is not loaded, no cell runs."""
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()
