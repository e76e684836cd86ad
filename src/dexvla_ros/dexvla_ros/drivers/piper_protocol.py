"""The CAN frames of the AgileX Piper: identifiers, layouts, units. No bus.

Source: the vendor's piper_sdk 0.6.2 (piper_msgs/msg_v2, protocol_v2, asserts/V2/INTERFACE_V2.MD). The frames
are written out here because that package opens SocketCAN only, so that nothing could stand in for an arm. All
frames have eight bytes and a standard identifier; numbers are big-endian.
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

FRAME_BYTES = 8
ARM_JOINTS = 6

# What the arm sends by itself, some 200 times per second.
STATUS_ID = 0x2A1
JOINT_IDS = (0x2A5, 0x2A6, 0x2A7)  # two joints each
GRIPPER_ID = 0x2A8
FAST_IDS = tuple(range(0x251, 0x257))  # speed, current and position of a motor
SLOW_IDS = tuple(range(0x261, 0x267))  # voltage, temperatures and state of a motor
# What it takes.
STOP_ID = 0x150
MODE_ID = 0x151
JOINT_COMMAND_IDS = (0x155, 0x156, 0x157)
GRIPPER_COMMAND_ID = 0x159
ENABLE_ID = 0x471
JOINT_SETTING_ID = 0x475

CAN_CONTROL = 0x01
EMERGENCY_STOP = 0x01
_MOVE_JOINTS = 0x01
_HIGH_FOLLOW = 0xAD
_ALL_MOTORS = 7
_YES = 0xAE
_NO_ACCELERATION = 0x7FFF

CONTROL_MODES = (
    "standby",
    "CAN",
    "teaching by hand",
    "Ethernet",
    "Wi-Fi",
    "remote control",
    "leader of another arm",
    "offline trajectory",
)
ARM_STATES = (
    "",
    "emergency stop",
    "no solution",
    "singularity",
    "target beyond the limits",
    "no communication with a joint",
    "a brake is not released",
    "collision",
    "too fast while taught by hand",
    "a joint is in error",
    "other error",
    "records what it is taught",
    "repeats what it was taught",
    "paused while it repeats what it was taught",
    "controller overheated",
    "braking resistor overheated",
)
MOTOR_FAULTS = {
    0: "voltage low",
    1: "motor overheated",
    2: "over-current",
    3: "driver overheated",
    4: "collision protection",
    5: "driver error",
    7: "stall protection",
}
GRIPPER_FAULTS = {
    0: "voltage low",
    1: "motor overheated",
    2: "over-current",
    3: "driver overheated",
    4: "sensor error",
    5: "driver error",
}
_ENABLED_BIT = 6


def millidegrees(position_rad: float) -> int:
    """rad to 0.001 degrees."""
    return round(math.degrees(position_rad) * 1000.0)


def radians(value: int) -> float:
    """0.001 degrees to rad."""
    return math.radians(value / 1000.0)


def opening(finger_m: float) -> int:
    """Travel of one finger, as in the URDF (joint7), to the whole opening in 0.001 mm."""
    return round(2.0 * finger_m * 1e6)


def finger_travel(value: int) -> float:
    """Whole opening in 0.001 mm to the travel of one finger in m."""
    return value / 2e6


@dataclass(frozen=True)
class ArmStatus:
    """Frame 0x2A1. `limits` and `silent`: numbers of the joints beyond a limit, or without communication."""

    control_mode: int
    arm_state: int
    limits: tuple[int, ...]
    silent: tuple[int, ...]


@dataclass(frozen=True)
class MotorStatus:
    """Frames 0x261 to 0x266: volts, degrees Celsius, faults in words."""

    voltage_v: float
    driver_c: float
    motor_c: float
    enabled: bool
    faults: tuple[str, ...]


@dataclass(frozen=True)
class GripperStatus:
    """Frame 0x2A8: travel of one finger in m."""

    position_m: float
    enabled: bool
    faults: tuple[str, ...]


def decode_joints(data: bytes) -> tuple[float, float]:
    """Frames 0x2A5 to 0x2A7: two positions, rad."""
    first, second = struct.unpack(">ii", data)
    return radians(first), radians(second)


def decode_speed(data: bytes) -> float:
    """Frames 0x251 to 0x256: rad/s."""
    return struct.unpack(">h", data[:2])[0] / 1000.0


def decode_status(data: bytes) -> ArmStatus:
    """Frame 0x2A1."""
    limits, silent = (tuple(1 + bit for bit in range(ARM_JOINTS) if byte >> bit & 1) for byte in data[6:8])
    return ArmStatus(data[0], data[1], limits, silent)


def decode_motor(data: bytes) -> MotorStatus:
    """Frames 0x261 to 0x266."""
    voltage, driver, motor, state = struct.unpack(">HhbB", data[:6])
    enabled = bool(state >> _ENABLED_BIT & 1)
    return MotorStatus(voltage / 10.0, driver, motor, enabled, _words(state, MOTOR_FAULTS))


def decode_gripper(data: bytes) -> GripperStatus:
    """Frame 0x2A8."""
    value, _, state = struct.unpack(">ihB", data[:7])
    return GripperStatus(finger_travel(value), bool(state >> _ENABLED_BIT & 1), _words(state, GRIPPER_FAULTS))


def encode_joints(positions_rad: Sequence[float]) -> list[tuple[int, bytes]]:
    """Frames 0x155 to 0x157 for six positions."""
    values = [millidegrees(position) for position in positions_rad]
    pairs = zip(values[0::2], values[1::2])
    return [(identifier, struct.pack(">ii", *pair)) for identifier, pair in zip(JOINT_COMMAND_IDS, pairs)]


def encode_gripper(position_m: float, effort_nm: float, clear: bool = False) -> tuple[int, bytes]:
    """Frame 0x159, motor on; `clear`: and its errors acknowledged."""
    return GRIPPER_COMMAND_ID, struct.pack(
        ">iHBB", opening(position_m), round(effort_nm * 1000.0), 0x03 if clear else 0x01, 0
    )


def encode_mode(speed_percent: int, high_follow: bool) -> tuple[int, bytes]:
    """Frame 0x151: obey CAN, move joint by joint."""
    follow = _HIGH_FOLLOW if high_follow else 0x00
    return MODE_ID, bytes((CAN_CONTROL, _MOVE_JOINTS, speed_percent, follow, 0, 0, 0, 0))


def encode_enable(wanted: bool) -> tuple[int, bytes]:
    """Frame 0x471 for all motors."""
    return ENABLE_ID, bytes((_ALL_MOTORS, 0x02 if wanted else 0x01, 0, 0, 0, 0, 0, 0))


def encode_clear() -> tuple[int, bytes]:
    """Frame 0x475: acknowledge the errors of all joints; zero and acceleration stay."""
    return JOINT_SETTING_ID, struct.pack(">BBBHBBB", _ALL_MOTORS, 0, 0, _NO_ACCELERATION, _YES, 0, 0)


def encode_resume() -> tuple[int, bytes]:
    """Frame 0x150: end an emergency stop. The motors lose their power and the arm sinks."""
    return STOP_ID, bytes((0x02, 0, 0, 0, 0, 0, 0, 0))


def _words(state: int, names: dict[int, str]) -> tuple[str, ...]:
    return tuple(name for bit, name in names.items() if state >> bit & 1)
