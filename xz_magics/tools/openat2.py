"""The system call openat2 of Linux 5.6 and newer: it alone opens a name so that no link leads out of a folder."""

import ctypes
import errno
import os

NUMBER = 437  # the same on every processor that Python runs on
RESOLVE_NO_MAGICLINKS, RESOLVE_BENEATH = 0x02, 0x08
TRIES = 64


class _How(ctypes.Structure):
    """`struct open_how`."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_beneath(folder: int, name: str, flags: int) -> int:
    """A new descriptor. Raises OSError; EXDEV where the name leads out, ENOSYS or EPERM where there is no such call."""
    libc = ctypes.CDLL(None, use_errno=True)
    how = _How(flags, 0, RESOLVE_NO_MAGICLINKS | RESOLVE_BENEATH)
    code = errno.EAGAIN
    for _ in range(TRIES):  # EAGAIN: something was renamed while a '..' of a link was looked up
        fd: int = libc.syscall(
            ctypes.c_long(NUMBER),
            ctypes.c_int(folder),
            ctypes.c_char_p(os.fsencode(name)),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        if fd >= 0:
            return fd
        code = ctypes.get_errno()
        if code not in {errno.EAGAIN, errno.EINTR}:
            break
    raise OSError(code, os.strerror(code))
