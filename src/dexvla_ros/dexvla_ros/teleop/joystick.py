"""A gamepad at /dev/input/js*, by the kernel's joystick interface: Joy where there is no joy_node.

Interface: Documentation/input/joydev/joydev-api.rst of the Linux kernel. The values are those of ROS'
joy_node: axes from -1 to 1, positive to the left and up.
"""

import os
import select
import struct
from pathlib import Path
from types import TracebackType

from dexvla_model.errors import UserError

# struct js_event: time in ms, value, kind, number.
_EVENT = struct.Struct("IhBB")
_BUTTON, _AXIS, _INITIAL = 0x01, 0x02, 0x80
_LARGEST = 32767.0


class Joystick:
    """A context with the newest state of a gamepad.

    Attributes:
        axes: -1 to 1. buttons: 0 or 1. The kernel reports every one of them once on opening.

    Raises:
        UserError: the device cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.axes: list[float] = []
        self.buttons: list[int] = []
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            raise UserError(
                f"--joystick {path}: the gamepad cannot be opened ({error.strerror}); plug it in, name "
                "another device, or publish sensor_msgs/Joy with 'ros2 run joy joy_node'."
            ) from error

    def __enter__(self) -> "Joystick":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def read(self, timeout_s: float) -> bool:
        """Take what has changed, after `timeout_s` at most. Whether something has.

        Raises:
            EOFError: it was unplugged.
        """
        if not select.select([self._fd], [], [], timeout_s)[0]:
            return False
        try:
            data = os.read(self._fd, 64 * _EVENT.size)
        except BlockingIOError:
            return False
        except OSError as error:
            raise EOFError(f"the gamepad is gone ({error.strerror})") from error
        if not data:
            raise EOFError("the gamepad is gone")
        for _, value, kind, number in _EVENT.iter_unpack(data[: len(data) // _EVENT.size * _EVENT.size]):
            if kind & ~_INITIAL == _AXIS:
                _put(self.axes, number, max(-1.0, min(1.0, -value / _LARGEST)), 0.0)
            elif kind & ~_INITIAL == _BUTTON:
                _put(self.buttons, number, int(bool(value)), 0)
        return True


def _put(values: list, index: int, value: float, filling: float) -> None:
    values.extend([filling] * (index + 1 - len(values)))
    values[index] = value
