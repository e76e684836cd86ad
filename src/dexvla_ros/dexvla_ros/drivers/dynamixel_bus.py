"""Dynamixel motors on a serial port, protocol 2.0, through ROBOTIS' SDK: answers checked, waits ended."""

import termios
import time
from collections.abc import Callable, Sequence
from types import ModuleType

from dexvla_ros.drivers.device import BadAnswer, DeviceGone
from dexvla_ros.drivers.libraries import dynamixel_library

_PROTOCOL = 2.0
# pyserial lets some of the terminal's own errors through.
_PORT_ERRORS = (OSError, termios.error)
# Places in a status packet; its length counts the instruction, the error and the checksum, too.
_PACKET_ID, _PACKET_LENGTH, _PACKET_DATA, _STATUS_EXTRA = 4, 5, 9, 4
# A bus that sends more than this between two requests babbles, and the SDK would listen for ever.
_BYTES_MAX = 8192


class DynamixelBus:
    """Some motors of a bus. Every method but `close` may raise BadAnswer or DeviceGone.

    Args:
        ids: of the motors. baud: of the bus.
        answer_timeout_s: for all motors' answers to one request.
    """

    def __init__(self, path: str, baud: int, ids: Sequence[int], answer_timeout_s: float) -> None:
        self.ids = tuple(ids)
        self._answer_timeout_s = answer_timeout_s
        self._late = False
        self._sdk = dynamixel_library()
        self._port = _port_handler(self._sdk, path, answer_timeout_s)
        self._packets = self._sdk.PacketHandler(_PROTOCOL)
        try:
            opened = self._port.setBaudRate(baud)
        except (*_PORT_ERRORS, ValueError) as error:
            raise DeviceGone(f"the serial port cannot be opened ({error})") from error
        if not opened:
            raise DeviceGone(f"{baud} baud is no rate of these motors")

    def close(self) -> None:
        """Give the port back."""
        try:
            self._port.closePort()
        except _PORT_ERRORS:
            pass  # it is gone

    def read_all(self, address: int, length: int) -> dict[int, bytes]:
        """The same part of every motor's table."""
        if self._late:
            # What is on its way must not be taken for the answer to this question; the SDK drops it then.
            time.sleep(self._answer_timeout_s)
            self._late = False
        ids = list(self.ids)
        self._talk(
            lambda: (None, self._packets.syncReadTx(self._port, address, length, ids, len(ids), False)),
            "the bus",
        )
        return {
            motor: self._talk(lambda motor=motor: self._receive(motor, length), f"motor {motor}")
            for motor in ids
        }

    def write_all(self, address: int, length: int, values: dict[int, int]) -> None:
        """Write a number into the table of some motors; they do not answer."""
        content = []
        for motor, value in values.items():
            content += [motor, *int(value).to_bytes(length, "little", signed=value < 0)]
        self._talk(
            lambda: (
                None,
                self._packets.syncWriteTxOnly(self._port, address, length, content, len(content)),
            ),
            "the bus",
        )

    def write_one(self, motor: int, address: int, length: int, value: int) -> None:
        """Write a number into one motor's table, which answers."""
        data = list(value.to_bytes(length, "little"))
        self._talk(
            lambda: (None, self._packets.writeTxRx(self._port, motor, address, length, data)[0]),
            f"motor {motor}",
        )

    def reboot(self, motor: int) -> None:
        """Start a motor anew, which takes a moment."""
        self._talk(lambda: (None, self._packets.reboot(self._port, motor)[0]), f"motor {motor}")

    def _receive(self, motor: int, length: int) -> tuple[bytes, int]:
        """A motor's answer and the SDK's result.

        What came late for another question is passed over: the SDK's own readRx would cut a longer answer to
        the length asked for.
        """
        while True:
            packet, result = self._packets.rxPacket(self._port, False)
            if result != self._sdk.COMM_SUCCESS:
                return b"", result
            if packet[_PACKET_ID] == motor and packet[_PACKET_LENGTH] == length + _STATUS_EXTRA:
                return bytes(packet[_PACKET_DATA : _PACKET_DATA + length]), result

    def _talk(self, request: Callable[[], tuple[bytes | None, int]], who: str) -> bytes | None:
        try:
            data, result = request()
        except (*_PORT_ERRORS, TypeError, IndexError) as error:  # the latter two: a descriptor that is None
            raise DeviceGone(f"the serial port is gone ({error})") from error
        finally:
            self._port.is_using = False
        if result != self._sdk.COMM_SUCCESS:
            what = {
                self._sdk.COMM_RX_TIMEOUT: "does not answer",
                self._sdk.COMM_RX_CORRUPT: "sent a damaged answer",
            }.get(result, f"failed with code {result}")
            self._late = True
            raise BadAnswer(f"{who} {what}")
        return data


def _port_handler(sdk: ModuleType, path: str, answer_timeout_s: float):
    """The SDK's port, but one that waits for bytes instead of asking without a pause, and that has an end."""

    class Port(sdk.PortHandler):
        def setupPort(self, cflag_baud: int) -> bool:
            opened = super().setupPort(cflag_baud)
            self.ser.timeout = 0.001
            self.ser.write_timeout = answer_timeout_s
            self._heard = 0
            return opened

        def clearPort(self) -> None:
            self._heard = 0
            super().clearPort()

        def readPort(self, length: int) -> bytes:
            data = super().readPort(length)
            self._heard += len(data)
            if self._heard > _BYTES_MAX:
                raise OSError("somebody floods the serial bus")
            return data

        def setPacketTimeout(self, packet_length: int) -> None:
            self.setPacketTimeoutMillis(answer_timeout_s * 1000.0)

    return Port(path)
