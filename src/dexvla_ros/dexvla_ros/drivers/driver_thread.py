"""Turns a driver at its rate in a thread of its own: a bus may keep its caller waiting, a node must not."""

import threading
from collections.abc import Callable
from time import monotonic

from dexvla_ros.drivers.device import DeviceState
from dexvla_ros.drivers.driver import Driver

_STOP_TIMEOUT_S = 10.0


class DriverThread:
    """Calls `driver.step` at `rate_hz`.

    Args:
        on_state: called with every fresh state, in the thread.
        on_error: called with what was raised and is no DeviceError: a bug, ours or a library's. It goes on.
    """

    def __init__(
        self,
        driver: Driver,
        rate_hz: float,
        on_state: Callable[[DeviceState], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._driver, self._period_s = driver, 1.0 / rate_hz
        self._on_state, self._on_error = on_state, on_error
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="device", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and let the device hold; returns when no more state comes."""
        self._stopping.set()
        self._thread.join(_STOP_TIMEOUT_S)
        self._driver.close()

    def _run(self) -> None:
        due_s = monotonic()
        while not self._stopping.is_set():
            try:
                state = self._driver.step()
                if state is not None:
                    self._on_state(state)
            except Exception as error:
                self._on_error(error)
            # What could not be done in time is left out, not made good for.
            due_s = max(due_s + self._period_s, monotonic())
            self._stopping.wait(due_s - monotonic())
