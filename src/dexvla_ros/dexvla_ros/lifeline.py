"""A pipe by which a process learns at once that its parent is gone, however the parent ended.

The parent keeps the writing end and never writes; the system closes it when the parent dies, also by SIGKILL.
"""

import os
import signal
import threading
import time
from collections.abc import Callable

_VARIABLE = "DEXVLA_LIFELINE_FD"
# Time that a process gets to shut down in order after its parent is gone.
_GRACE_S = 3.0


class Lifeline:
    """The parent's end: give the child `child_fd` and `environment`, then call `release_child_end`."""

    def __init__(self) -> None:
        self.child_fd, self._parent_fd = os.pipe()

    @property
    def environment(self) -> dict[str, str]:
        return {_VARIABLE: str(self.child_fd)}

    def release_child_end(self) -> None:
        """Close the parent's copy of the child's end."""
        os.close(self.child_fd)

    def cut(self) -> None:
        """Let go: a child that still runs shuts down."""
        if self._parent_fd >= 0:
            os.close(self._parent_fd)
            self._parent_fd = -1


def shut_down_with_parent(on_loss: Callable[[], None] | None = None) -> None:
    """Watch the lifeline that this process was started with, if any; on its loss interrupt, then exit.

    Args:
        on_loss: called from the watching thread in place of the interruption.
    """
    fd = os.environ.pop(_VARIABLE, None)
    if fd is None:
        return
    os.set_inheritable(int(fd), False)
    threading.Thread(target=_watch, args=(int(fd), on_loss), name="lifeline", daemon=True).start()


def _watch(fd: int, on_loss: Callable[[], None] | None) -> None:
    while True:
        try:
            if os.read(fd, 1) == b"":
                break
        except InterruptedError:
            continue
    if on_loss is not None:
        on_loss()
        return
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(_GRACE_S)
    os._exit(1)
