"""AgileX Piper over CAN: an arm of six joints, with or without its gripper."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

import numpy as np

from dexvla_model.yaml_reader import MappingReader
from dexvla_ros.drivers import piper_protocol as protocol
from dexvla_ros.drivers.device import BadAnswer, Device, DeviceGone, DeviceState
from dexvla_ros.drivers.libraries import can_library

# More than the arm sends in a second: who sends so much in a cycle is broken.
_FRAMES_MAX = 4000
_CONNECT_TIMEOUT_S = 0.5
_KNOWN = frozenset(
    (
        protocol.STATUS_ID,
        protocol.GRIPPER_ID,
        *protocol.JOINT_IDS,
        *protocol.FAST_IDS,
        *protocol.SLOW_IDS,
    )
)


@dataclass(frozen=True)
class PiperSettings:
    """The section `piper` of config/drivers/piper.yaml.

    Attributes:
        interface, channel: as python-can names them. bitrate: of interfaces that set it; SocketCAN does not.
        feedback_timeout_s: older joint feedback is none.
        speed_percent: of the arm's own speed limit. high_follow: the arm's stiffer mode.
        gripper_effort_nm: the most with which the gripper closes.
    """

    interface: str
    channel: str
    bitrate: int
    feedback_timeout_s: float
    speed_percent: int
    high_follow: bool
    gripper_effort_nm: float


def read_piper(reader: MappingReader, joints: Sequence[str], port: str) -> "Piper":
    """The arm that a file describes; `port` replaces its channel.

    Raises:
        UserError: the section has an error, or python-can is missing.
    """
    section = reader.mapping("piper")
    channel = section.text("channel")
    if len(joints) not in (protocol.ARM_JOINTS, protocol.ARM_JOINTS + 1):
        needed = "six joints, and a seventh for the gripper, are needed"
        raise reader.error("joints", f"a list of {len(joints)}", needed)
    settings = PiperSettings(
        interface=section.text("interface"),
        channel=port or channel,
        bitrate=section.integer("bitrate", 10_000, 1_000_000),
        feedback_timeout_s=section.number("feedback_timeout_s", 0.01, 1.0),
        speed_percent=section.integer("speed_percent", 1, 100),
        high_follow=section.boolean("high_follow"),
        gripper_effort_nm=section.number("gripper_effort_nm", 0.0, 5.0),
    )
    section.finish()
    can_library()
    return Piper(settings, joints)


class Piper(Device):
    """See `Device`. The arm reports by itself; a read collects what has come."""

    def __init__(
        self, settings: PiperSettings, joints: Sequence[str], clock: Callable[[], float] = monotonic
    ) -> None:
        self.name = f"Piper on {settings.channel}"
        self.joints = tuple(joints)
        self._settings, self._clock = settings, clock
        self._gripper = len(self.joints) > protocol.ARM_JOINTS
        self._wanted = (*protocol.JOINT_IDS, *((protocol.GRIPPER_ID,) if self._gripper else ()))
        self._can = None
        self._bus = None
        self._forget()

    def connect(self) -> None:
        self._can = can_library()
        # Only the kernel's filters: with those in Python an unwanted frame looks like the end of the queue.
        filters = [{"can_id": identifier, "can_mask": 0x7FF, "extended": False} for identifier in _KNOWN]
        try:
            self._bus = self._can.Bus(
                interface=self._settings.interface,
                channel=self._settings.channel,
                bitrate=self._settings.bitrate,
                can_filters=filters if self._settings.interface == "socketcan" else None,
                ignore_config=True,
            )
        except (self._can.CanError, OSError, ValueError) as error:
            raise DeviceGone(f"the CAN interface cannot be opened ({error})") from error
        deadline_s = self._clock() + _CONNECT_TIMEOUT_S
        while self._clock() < deadline_s:
            self._collect(wait_s=0.02)
            if not self._lacking():
                return
        raise DeviceGone(f"the arm says nothing ({self._lacking()}); look at its power and at the CAN cable")

    def close(self) -> None:
        if self._bus is not None:
            try:
                self._bus.shutdown()
            except (self._can.CanError, OSError):
                pass  # it is gone
        self._bus = None
        self._forget()

    def read(self) -> DeviceState:
        self._collect(wait_s=0.0)
        lacking = self._lacking()
        if lacking:
            raise BadAnswer(lacking)
        status = protocol.decode_status(self._data(protocol.STATUS_ID))
        motors = [protocol.decode_motor(self._data(identifier)) for identifier in protocol.SLOW_IDS]
        temperatures = {
            name: max(motor.driver_c, motor.motor_c) for name, motor in zip(self.joints, motors)
        }
        enabled = all(motor.enabled for motor in motors) and status.control_mode == protocol.CAN_CONTROL
        positions = self._positions()
        if self._gripper:
            enabled &= protocol.decode_gripper(self._data(protocol.GRIPPER_ID)).enabled
        return DeviceState(
            positions,
            self._velocities(positions),
            enabled=enabled,
            faults=self._faults(status, motors),
            temperatures_c=temperatures,
            values={
                "control mode": _entry(protocol.CONTROL_MODES, status.control_mode),
                "lowest voltage, V": min(motor.voltage_v for motor in motors),
                "frames of a wrong kind": self._wrong,
            },
        )

    def write(self, positions: np.ndarray) -> None:
        self._send(protocol.encode_mode(self._settings.speed_percent, self._settings.high_follow))
        for frame in protocol.encode_joints(positions[: protocol.ARM_JOINTS]):
            self._send(frame)
        if self._gripper:
            self._send(protocol.encode_gripper(positions[-1], self._settings.gripper_effort_nm))

    def enable(self) -> None:
        # First where to hold, then the power.
        self.write(self._positions())
        self._send(protocol.encode_enable(True))

    def disable(self) -> None:
        self._send(protocol.encode_enable(False))

    def clear_faults(self) -> None:
        if protocol.decode_status(self._data(protocol.STATUS_ID)).arm_state == protocol.EMERGENCY_STOP:
            self._send(protocol.encode_resume())
        self._send(protocol.encode_clear())
        if self._gripper:
            position_m = self._positions()[-1]
            self._send(protocol.encode_gripper(position_m, self._settings.gripper_effort_nm, clear=True))

    def _forget(self) -> None:
        self._frames: dict[int, tuple[bytes, float]] = {}
        self._wrong = 0
        self._finger: tuple[float, float] | None = None

    def _data(self, identifier: int) -> bytes:
        if identifier not in self._frames:
            raise BadAnswer(f"no frame {identifier:#x} has come")
        return self._frames[identifier][0]

    def _collect(self, wait_s: float) -> None:
        for _ in range(_FRAMES_MAX):
            try:
                message = self._bus.recv(timeout=wait_s)
            except (self._can.CanError, OSError) as error:
                raise DeviceGone(f"the CAN interface is gone ({error})") from error
            if message is None:
                return
            wait_s = 0.0
            if message.arbitration_id not in _KNOWN and not message.is_error_frame:
                continue
            whole = message.dlc == protocol.FRAME_BYTES == len(message.data)
            if message.is_error_frame or message.is_remote_frame or message.is_extended_id or not whole:
                self._wrong += 1
                continue
            self._frames[message.arbitration_id] = (bytes(message.data), self._clock())
        raise DeviceGone("somebody floods the CAN bus")

    def _lacking(self) -> str:
        """What has not come, or is too old; empty = all is there."""
        oldest_s = self._clock() - self._settings.feedback_timeout_s
        for identifier in self._wanted:
            if self._frames.get(identifier, (b"", -np.inf))[1] < oldest_s:
                what = "the gripper" if identifier == protocol.GRIPPER_ID else "the joints"
                return f"no feedback of {what} ({identifier:#x}) for {self._settings.feedback_timeout_s:g} s"
        # These come less often: they have to have come, and to have come within a second.
        for identifier in (protocol.STATUS_ID, *protocol.SLOW_IDS):
            if self._frames.get(identifier, (b"", -np.inf))[1] < self._clock() - 1.0:
                return f"no status ({identifier:#x}) for 1 s"
        return ""

    def _positions(self) -> np.ndarray:
        pairs = [protocol.decode_joints(self._data(identifier)) for identifier in protocol.JOINT_IDS]
        values = [value for pair in pairs for value in pair]
        if self._gripper:
            values.append(protocol.decode_gripper(self._data(protocol.GRIPPER_ID)).position_m)
        return np.array(values)

    def _velocities(self, positions: np.ndarray) -> np.ndarray | None:
        if not all(identifier in self._frames for identifier in protocol.FAST_IDS):
            return None
        values = [protocol.decode_speed(self._data(identifier)) for identifier in protocol.FAST_IDS]
        if self._gripper:
            # The gripper does not measure its speed: that of the last two frames.
            data, came_s = self._frames[protocol.GRIPPER_ID]
            position_m = protocol.decode_gripper(data).position_m
            before = self._finger
            self._finger = (position_m, came_s)
            moved = before is not None and came_s > before[1]
            values.append((position_m - before[0]) / (came_s - before[1]) if moved else 0.0)
        return np.array(values)

    def _faults(self, status: protocol.ArmStatus, motors: Sequence[protocol.MotorStatus]) -> tuple[str, ...]:
        faults = []
        if status.arm_state:
            faults.append(_entry(protocol.ARM_STATES, status.arm_state))
        if status.control_mode not in (0, protocol.CAN_CONTROL):
            faults.append(f"controlled otherwise: {_entry(protocol.CONTROL_MODES, status.control_mode)}")
        faults += [f"{self.joints[number - 1]} beyond its limit" for number in status.limits]
        faults += [f"no communication with {self.joints[number - 1]}" for number in status.silent]
        for name, motor in zip(self.joints, motors):
            faults += [f"{name}: {fault}" for fault in motor.faults]
        if self._gripper:
            gripper = protocol.decode_gripper(self._data(protocol.GRIPPER_ID))
            faults += [f"{self.joints[-1]}: {fault}" for fault in gripper.faults]
        return tuple(faults)

    def _send(self, frame: tuple[int, bytes]) -> None:
        message = self._can.Message(arbitration_id=frame[0], data=frame[1], is_extended_id=False)
        try:
            self._bus.send(message, timeout=0.01)
        except (self._can.CanError, OSError) as error:
            raise BadAnswer(f"a frame cannot be sent ({error}); look at the CAN cable") from error


def _entry(names: Sequence[str], index: int) -> str:
    return names[index] if index < len(names) else f"unknown ({index})"
