"""What some kernels need so that no cell is lost: it alone touches another library's inside."""

import sys
from contextlib import suppress
from typing import Any

MENDED_IN = (7, 4)


def mend_kernel(kernel: Any) -> None:
    """Ipykernel 7.0 to 7.3 write replies past the stream that reads requests from the same socket.

    That takes away the mark of a request that arrives at that moment: it stays unread, and the kernel stands still.
    From 7.4 on replies go through the stream; so they do here. Called on the main thread, before a run begins.
    """
    version = getattr(sys.modules.get("ipykernel"), "version_info", ())
    if not (7,) <= version[:2] < MENDED_IN:
        return
    with suppress(AttributeError):  # no kernel, or one of another kind
        kernel.shell_channel_thread.manager._shell_socket = kernel.shell_stream  # noqa: SLF001 - as 7.4 does it
