"""Ctrl-C and the end of a job: a run stops between two steps, never within one."""

import signal
import threading
from types import FrameType

import torch
from accelerate import Accelerator

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequests:
    """Within this context a first SIGINT or SIGTERM is noted; a second one interrupts at once.

    In a thread other than the main one signals cannot be caught, and nothing is noted.
    """

    def __init__(self, accelerator: Accelerator):
        self._accelerator = accelerator
        self._requested = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopRequests":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._requested:
            raise KeyboardInterrupt
        self._requested = True

    def requested(self) -> bool:
        """Whether any process was asked to stop; all of them have to ask, after the same step."""
        if self._accelerator.num_processes == 1:
            return self._requested
        flag = torch.tensor(float(self._requested), device=self._accelerator.device)
        return bool(self._accelerator.reduce(flag, "sum") > 0)
