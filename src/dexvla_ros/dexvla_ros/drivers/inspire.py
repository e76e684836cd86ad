"""Inspire RH56 hand over Modbus, RTU on RS-485 or TCP: six motors in counts from 0, closed, to 1000, open.

Registers: pyrh56 0.4.0 (registers.py, enums.py) and inspire_hand_ws (inspire_hand_sdk, hand_ftp.md).
Positions of the six motors stand in six consecutive registers from the given address; error, status and
temperature are bytes, two to a register.
"""

import struct
import termios
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dexvla_model.yaml_reader import MappingReader
from dexvla_ros.drivers.device import BadAnswer, Device, DeviceError, DeviceGone, DeviceState
from dexvla_ros.drivers.libraries import modbus_library

MOTORS = 6
CLEAR_ERROR = 1004
ANGLE_SET = 1486
FORCE_SET = 1498
SPEED_SET = 1522
ANGLE_ACT = 1546
ERROR = 1606
STATUS = 1612
TEMPERATURE = 1618
_BYTE_REGISTERS = MOTORS // 2
OPEN_COUNTS = 1000

ERRORS = ("stall", "overheated", "over-current", "motor error", "communication error")
STATES = {
    0: "releasing",
    1: "grasping",
    2: "position reached",
    3: "force reached",
    5: "over-current",
    6: "stall",
    7: "fault",
}
TRANSPORTS = ("rtu", "tcp")
# On a serial line a late answer would be taken for the next one's: wait until it must have come.
_QUIET_S = 0.05
_LOOK = "look at the cable and at the hand's power"


@dataclass(frozen=True)
class InspireSettings:
    """The section `inspire` of config/drivers/inspire.yaml.

    Attributes:
        transport: rtu or tcp. port: serial device of rtu. baud: of rtu. host, tcp_port: of tcp.
        unit: the hand's number on the bus.
        answer_timeout_s: a later answer is none.
        speed, force: for all motors, 0 to 1000 counts.
        first_byte_high: of two bytes in a register, the first motor's is the high one.
        open_rad, closed_rad: angles of the joints at 1000 and at 0 counts, by joint.
    """

    transport: str
    port: str
    baud: int
    host: str
    tcp_port: int
    unit: int
    answer_timeout_s: float
    speed: int
    force: int
    first_byte_high: bool
    open_rad: tuple[float, ...]
    closed_rad: tuple[float, ...]

    @property
    def address(self) -> str:
        """Where the hand is, for messages."""
        return self.port if self.transport == "rtu" else f"{self.host}:{self.tcp_port}"


def read_inspire(reader: MappingReader, joints: Sequence[str], port: str) -> "Inspire":
    """The hand that a file describes; `port` replaces its serial port, or host:port where it is on TCP.

    Raises:
        UserError: the section has an error, or pymodbus is missing.
    """
    section = reader.mapping("inspire")
    if len(joints) != MOTORS:
        raise reader.error("joints", f"a list of {len(joints)}", "six joints are needed")
    transport = section.text("transport", allowed=TRANSPORTS)
    rtu, tcp = section.mapping("rtu"), section.mapping("tcp")
    serial_port, host = rtu.text("port"), tcp.text("host")
    baud, tcp_port = rtu.integer("baud", 19_200, 115_200), tcp.integer("port", 1, 65_535)
    if port and transport == "rtu":
        serial_port = port
    elif port:
        host, _, number = port.rpartition(":")
        if not host or not number.isdigit() or not 0 < int(number) < 65_536:
            raise section.error("transport", "tcp", f"the port given is {port!r}; give HOST:PORT")
        tcp_port = int(number)
    ranges = section.mapping("ranges")
    pairs = []
    for joint in joints:
        pair = ranges.mapping(joint)
        pairs.append((pair.number("open_rad", -4.0, 4.0), pair.number("closed_rad", -4.0, 4.0)))
        if pairs[-1][0] == pairs[-1][1]:
            raise pair.error("closed_rad", f"{pairs[-1][1]:g}", "it has to differ from open_rad")
        pair.finish()
    settings = InspireSettings(
        transport=transport,
        port=serial_port,
        baud=baud,
        host=host,
        tcp_port=tcp_port,
        unit=section.integer("unit", 1, 247),
        answer_timeout_s=section.number("answer_timeout_s", 0.01, 2.0),
        speed=section.integer("speed", 0, 1000),
        force=section.integer("force", 0, 1000),
        first_byte_high=section.boolean("first_byte_high"),
        open_rad=tuple(pair[0] for pair in pairs),
        closed_rad=tuple(pair[1] for pair in pairs),
    )
    for part in (rtu, tcp, ranges, section):
        part.finish()
    modbus_library()
    return Inspire(settings, joints)


class Inspire(Device):
    """See `Device`. The hand cannot be switched off, and measures no velocities."""

    def __init__(self, settings: InspireSettings, joints: Sequence[str]) -> None:
        self.name = f"Inspire hand on {settings.address}"
        self.joints = tuple(joints)
        self._settings = settings
        self._open_rad = np.array(settings.open_rad)
        self._per_count_rad = (self._open_rad - np.array(settings.closed_rad)) / OPEN_COUNTS
        self._client = None
        self._bytes: dict[int, list[int]] = {}
        self._turn = 0

    def counts(self, positions: np.ndarray) -> list[int]:
        """rad (6,) to counts, 0 to 1000."""
        values = OPEN_COUNTS + (positions - self._open_rad) / self._per_count_rad
        return [int(value) for value in np.clip(np.rint(values), 0, OPEN_COUNTS)]

    def angles(self, counts: Sequence[int]) -> np.ndarray:
        """Counts to rad (6,)."""
        return self._open_rad + (np.array(counts, float) - OPEN_COUNTS) * self._per_count_rad

    def connect(self) -> None:
        pymodbus = modbus_library()
        settings = self._settings
        common = {"timeout": settings.answer_timeout_s, "retries": 0}
        if settings.transport == "rtu":
            self._client = pymodbus.client.ModbusSerialClient(settings.port, baudrate=settings.baud, **common)
        else:
            self._client = pymodbus.client.ModbusTcpClient(settings.host, port=settings.tcp_port, **common)
        if not self._client.connect():
            raise DeviceGone(f"{settings.address} cannot be opened; {_LOOK}")
        for address in (ERROR, STATUS, TEMPERATURE):
            self._bytes[address] = self._read_bytes(address)
        self._write(SPEED_SET, [settings.speed] * MOTORS)
        self._write(FORCE_SET, [settings.force] * MOTORS)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None

    def read(self) -> DeviceState:
        counts = self._registers(ANGLE_ACT, MOTORS)
        # One of the slow ones a cycle: the bus is slow, too.
        address = (ERROR, STATUS, TEMPERATURE)[self._turn % 3]
        self._bytes[address] = self._read_bytes(address)
        self._turn += 1
        states = [STATES.get(state, f"unknown ({state})") for state in self._bytes[STATUS]]
        return DeviceState(
            self.angles(struct.unpack(f">{MOTORS}h", struct.pack(f">{MOTORS}H", *counts))),
            faults=self._faults(),
            temperatures_c=dict(zip(self.joints, map(float, self._bytes[TEMPERATURE]))),
            values={f"status {joint}": state for joint, state in zip(self.joints, states)},
        )

    def write(self, positions: np.ndarray) -> None:
        self._write(ANGLE_SET, self.counts(positions))

    def enable(self) -> None:
        """Nothing to do: it is on."""

    def disable(self) -> None:
        raise DeviceError("this hand cannot be switched off; take its power away")

    def clear_faults(self) -> None:
        self._write(CLEAR_ERROR, [1])

    def _faults(self) -> tuple[str, ...]:
        faults = []
        for joint, error, state in zip(self.joints, self._bytes[ERROR], self._bytes[STATUS]):
            faults += [f"{joint}: {name}" for bit, name in enumerate(ERRORS) if error >> bit & 1]
            if not error and STATES.get(state) == "fault":
                faults.append(f"{joint}: fault")
        return tuple(faults)

    def _read_bytes(self, address: int) -> list[int]:
        pairs = [divmod(register, 256) for register in self._registers(address, _BYTE_REGISTERS)]
        high_first = self._settings.first_byte_high
        return [value for high, low in pairs for value in ((high, low) if high_first else (low, high))]

    def _registers(self, address: int, count: int) -> list[int]:
        answer = self._ask(
            lambda: self._client.read_holding_registers(address, count=count, device_id=self._settings.unit)
        )
        if len(answer.registers) != count:
            raise BadAnswer(f"{len(answer.registers)} registers came instead of {count} from {address}")
        return answer.registers

    def _write(self, address: int, values: list[int]) -> None:
        self._ask(lambda: self._client.write_registers(address, values, device_id=self._settings.unit))

    def _ask(self, request):
        exceptions = modbus_library().exceptions
        try:
            answer = request()
        except exceptions.ConnectionException as error:
            raise DeviceGone(f"{self._settings.address} is gone; {_LOOK}") from error
        except exceptions.ModbusException as error:
            self._be_quiet()
            timeout_s = self._settings.answer_timeout_s
            raise BadAnswer(f"no right answer within {timeout_s:g} s") from error
        except (OSError, termios.error, TypeError, ValueError, IndexError, struct.error) as error:
            raise DeviceGone(f"{self._settings.address} is gone ({error})") from error
        if answer.isError():
            raise BadAnswer(f"the hand refuses a request ({answer})")
        return answer

    def _be_quiet(self) -> None:
        """See to it that what comes late is not taken for the next answer."""
        if self._settings.transport == "tcp":
            self._client.close()  # the next request opens it again
        else:
            time.sleep(_QUIET_S)  # and the client throws away what has come before it asks again
