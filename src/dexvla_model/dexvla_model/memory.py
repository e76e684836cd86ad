"""Keep memory that was freed instead of giving it back to the operating system."""

import ctypes
import sys

# Parameters of glibc's mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3


def keep_freed_memory() -> None:
    """Tell glibc to reuse freed memory, for the whole process. Does nothing on other systems.

    On a CPU, torch allocates every activation anew. With glibc's defaults those of some MB come fresh from
    the kernel each time, and zeroing their pages costs more than the operation itself (measured: GELU forward
    and backward over 1.9 million values, 24.5 ms against 3.9 ms).
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_MMAP_THRESHOLD, 2**30)
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_TOP_PAD, 2**28)
