"""LEAP hand: sixteen Dynamixel motors on one serial bus, protocol 2.0.

Control table and scales: LEAP_Hand_API (python/leap_hand_utils/dynamixel_client.py, leap_hand_utils.py) and
ROBOTIS' e-manual of the XL330 and XC330. A joint's angle in the URDF is the motor's less pi: ticks 2048 are
the flat hand.
"""

import math
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dexvla_model.yaml_reader import MappingReader
from dexvla_ros.drivers.device import Device, DeviceState
from dexvla_ros.drivers.dynamixel_bus import DynamixelBus
from dexvla_ros.drivers.libraries import dynamixel_library

OPERATING_MODE = 11
TORQUE_ENABLE = 64
HARDWARE_ERROR = 70
GAIN_D, GAIN_I, GAIN_P = 80, 82, 84
GOAL_CURRENT = 102
GOAL_POSITION = 116
PRESENT_CURRENT = 126  # 2 bytes, velocity 4, position 4
PRESENT_VOLTAGE = 144  # 2 bytes, temperature 1
CURRENT_BASED_POSITION = 5

TICKS_PER_TURN = 4096
FLAT_TICKS = 2048
_RAD_PER_TICK = 2.0 * math.pi / TICKS_PER_TURN
_RAD_S_PER_UNIT = 0.229 * 2.0 * math.pi / 60.0
_MA_PER_UNIT = 1.34
ERRORS = {
    0: "input voltage",
    1: "hall sensor",
    2: "overheated",
    3: "encoder",
    4: "electrical shock or too little power",
    5: "overload",
}
_STATES_LENGTH = HARDWARE_ERROR - TORQUE_ENABLE + 1
_REBOOT_S = 0.5


@dataclass(frozen=True)
class LeapSettings:
    """The section `leap` of config/drivers/leap.yaml.

    Attributes:
        port: serial device. baud: of the bus. ids: of the motors, in the order of the joints.
        answer_timeout_s: for all motors' answers to one request.
        current_ma: the most that a motor draws. gain_p, gain_i, gain_d: of all motors, in the motor's units.
        side_gain: part of gain_p and gain_d for the joints that spread the fingers. side_ids: their motors.
    """

    port: str
    baud: int
    ids: tuple[int, ...]
    answer_timeout_s: float
    current_ma: float
    gain_p: int
    gain_i: int
    gain_d: int
    side_gain: float
    side_ids: tuple[int, ...]


def ticks(position_rad: float) -> int:
    """Angle of the joint in the URDF to the motor's ticks."""
    return round(position_rad / _RAD_PER_TICK) + FLAT_TICKS


def angle(value: int) -> float:
    """Ticks to the angle of the joint in the URDF, rad."""
    return (value - FLAT_TICKS) * _RAD_PER_TICK


def read_leap(reader: MappingReader, joints: Sequence[str], port: str) -> "Leap":
    """The hand that a file describes; `port` replaces its serial port.

    Raises:
        UserError: the section has an error, or dynamixel-sdk is missing.
    """
    section = reader.mapping("leap")
    file_port = section.text("port")
    ids = section.integers("ids", len(joints), 0, 252)
    if len(set(ids)) != len(ids):
        raise section.error("ids", str(list(ids)), "every motor needs a number of its own")
    settings = LeapSettings(
        port=port or file_port,
        baud=section.integer("baud", 9600, 4_000_000),
        ids=ids,
        answer_timeout_s=section.number("answer_timeout_s", 0.005, 1.0),
        current_ma=section.number("current_ma", 1.0, 1750.0),
        gain_p=section.integer("gain_p", 0, 16_383),
        gain_i=section.integer("gain_i", 0, 16_383),
        gain_d=section.integer("gain_d", 0, 16_383),
        side_gain=section.number("side_gain", 0.0, 1.0),
        side_ids=section.integers("side_ids", 3, 0, 252),
    )
    section.finish()
    dynamixel_library()
    return Leap(settings, joints)


class Leap(Device):
    """See `Device`."""

    def __init__(self, settings: LeapSettings, joints: Sequence[str]) -> None:
        self.name = f"LEAP hand on {settings.port}"
        self.joints = tuple(joints)
        self._settings = settings
        self._bus: DynamixelBus | None = None
        self._turn = 0
        self._ticks: dict[int, int] = {}
        self._enabled = False
        self._errors: dict[int, int] = {}
        self._temperatures: dict[int, int] = {}
        self._voltages: dict[int, float] = {}

    def connect(self) -> None:
        settings = self._settings
        self._bus = DynamixelBus(settings.port, settings.baud, settings.ids, settings.answer_timeout_s)
        self._read_states()
        self._read_temperatures()
        self._set_up(self._settings.ids)
        self._read_positions()

    def close(self) -> None:
        if self._bus is not None:
            self._bus.close()
        self._bus = None

    def read(self) -> DeviceState:
        rows = self._read_positions()
        # The slow ones in turn; a motor that lost its torque has to show soon.
        (self._read_states, self._read_temperatures)[self._turn % 10 == 9]()
        self._turn += 1
        names = dict(zip(self._settings.ids, self.joints))
        faults = [
            f"motor {names[motor]}: {name}"
            for motor, error in self._errors.items()
            for bit, name in ERRORS.items()
            if error >> bit & 1
        ]
        return DeviceState(
            np.array([angle(position) for _, _, position in rows]),
            np.array([velocity * _RAD_S_PER_UNIT for _, velocity, _ in rows]),
            enabled=self._enabled,
            faults=tuple(faults),
            temperatures_c={names[motor]: float(value) for motor, value in self._temperatures.items()},
            values={
                "lowest voltage, V": min(self._voltages.values()),
                "highest current, mA": max(abs(current) for current, _, _ in rows) * _MA_PER_UNIT,
            },
        )

    def write(self, positions: np.ndarray) -> None:
        goals = {motor: ticks(position) for motor, position in zip(self._settings.ids, positions)}
        self._bus.write_all(GOAL_POSITION, 4, goals)

    def enable(self) -> None:
        # First where to hold, then the power.
        self._bus.write_all(GOAL_POSITION, 4, self._ticks)
        self._bus.write_all(TORQUE_ENABLE, 1, dict.fromkeys(self._settings.ids, 1))

    def disable(self) -> None:
        self._bus.write_all(TORQUE_ENABLE, 1, dict.fromkeys(self._settings.ids, 0))

    def clear_faults(self) -> None:
        """Reboot the motors that report a fault: nothing else makes them move again."""
        faulty = tuple(motor for motor, error in self._errors.items() if error)
        for motor in faulty:
            self._bus.reboot(motor)
        if faulty:
            time.sleep(_REBOOT_S)
            self._set_up(faulty)
        self._read_states()

    def _set_up(self, motors: Sequence[int]) -> None:
        """Mode, gains and current of motors; the mode only where it is wrong: it takes the torque off."""
        settings = self._settings
        modes = self._bus.read_all(OPERATING_MODE, 1)
        for motor in motors:
            if modes[motor][0] != CURRENT_BASED_POSITION:
                self._bus.write_one(motor, TORQUE_ENABLE, 1, 0)
                self._bus.write_one(motor, OPERATING_MODE, 1, CURRENT_BASED_POSITION)
        parts = {motor: settings.side_gain if motor in settings.side_ids else 1.0 for motor in motors}
        gains_p = {motor: round(part * settings.gain_p) for motor, part in parts.items()}
        gains_d = {motor: round(part * settings.gain_d) for motor, part in parts.items()}
        self._bus.write_all(GAIN_P, 2, gains_p)
        self._bus.write_all(GAIN_I, 2, dict.fromkeys(motors, settings.gain_i))
        self._bus.write_all(GAIN_D, 2, gains_d)
        self._bus.write_all(GOAL_CURRENT, 2, dict.fromkeys(motors, round(settings.current_ma / _MA_PER_UNIT)))

    def _read_positions(self) -> list[tuple[int, int, int]]:
        """Current, velocity and position of every motor, in its units."""
        rows = [struct.unpack("<hii", data) for data in self._bus.read_all(PRESENT_CURRENT, 10).values()]
        self._ticks = {motor: row[2] for motor, row in zip(self._settings.ids, rows)}
        return rows

    def _read_states(self) -> None:
        answers = self._bus.read_all(TORQUE_ENABLE, _STATES_LENGTH)
        self._enabled = all(data[0] for data in answers.values())
        self._errors = {motor: data[-1] for motor, data in answers.items()}

    def _read_temperatures(self) -> None:
        answers = self._bus.read_all(PRESENT_VOLTAGE, 3)
        self._voltages = {motor: struct.unpack("<H", data[:2])[0] / 10.0 for motor, data in answers.items()}
        self._temperatures = {motor: data[2] for motor, data in answers.items()}
