"""Sixteen motors on a pseudo-terminal that speak Dynamixel protocol 2.0, from ROBOTIS' description."""

import os
import select
import struct
import threading
import tty
from time import sleep

PING, READ, WRITE, REBOOT, SYNC_READ, SYNC_WRITE = 0x01, 0x02, 0x03, 0x08, 0x82, 0x83
HEADER = b"\xff\xff\xfd\x00"


def crc16(data):
    """CRC-16 with polynomial 0x8005, the register starting at 0."""
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x8005 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


class Motor:
    """A control table that does what is written to it: the position follows the goal at once."""

    def __init__(self, ticks):
        self.table = bytearray(200)
        self.table[11] = 3
        self.table[146] = 38
        self.set(144, 2, 50)
        self.set(132, 4, ticks)

    def set(self, address, length, value):
        self.table[address : address + length] = value.to_bytes(length, "little", signed=value < 0)

    def get(self, address, length, signed=False):
        return int.from_bytes(self.table[address : address + length], "little", signed=signed)

    @property
    def ticks(self):
        return self.get(132, 4, signed=True)

    def write(self, address, data):
        if address == 11 and self.table[64]:
            return 0x07  # access error: the mode is locked while the torque is on
        self.table[address : address + len(data)] = data
        if address == 64 and self.table[70]:
            self.table[64] = 0  # a motor with a hardware error does not switch on
        if self.table[64]:
            self.table[132:136] = self.table[116:120]
        return 0

    def reboot(self):
        self.table[70] = self.table[64] = 0
        self.set(84, 2, 400)


class SimulatedLeap:
    """The bus. `mute`: motors that say nothing. `mangle`: changes an answer. `late_s`: waits before one."""

    def __init__(self):
        self.motors = {motor: Motor(2048 + 10 * motor) for motor in range(16)}
        self.mute, self.mangle, self.late_s, self.babble = set(), None, 0.0, False
        self.writes = []
        self._ours, self._theirs = os.openpty()
        tty.setraw(self._ours)
        tty.setraw(self._theirs)
        self.path = os.ttyname(self._theirs)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def unplug(self):
        """The adapter is pulled out: both ends of the terminal go."""
        self.stop()

    def stop(self):
        if not self._stopping.is_set():
            self._stopping.set()
            self._thread.join()
            os.close(self._ours)
            os.close(self._theirs)

    def goals(self):
        return [items for address, items in self.writes if address == 116]

    def _run(self):
        buffer = b""
        while not self._stopping.is_set():
            if self.babble:
                os.write(self._ours, b"\xff" * 512)
            if not select.select([self._ours], [], [], 0.0 if self.babble else 0.02)[0]:
                continue
            buffer += os.read(self._ours, 4096)
            while (start := buffer.find(HEADER)) >= 0 and len(buffer) >= start + 7:
                length = struct.unpack_from("<H", buffer, start + 5)[0]
                if len(buffer) < start + 7 + length:
                    break
                packet, buffer = buffer[start : start + 7 + length], buffer[start + 7 + length :]
                assert crc16(packet[:-2]) == struct.unpack("<H", packet[-2:])[0]
                self._take(packet[4], packet[7], packet[8:-2].replace(b"\xff\xff\xfd\xfd", b"\xff\xff\xfd"))

    def _take(self, identifier, instruction, data):
        if instruction == SYNC_READ:
            address, length = struct.unpack_from("<HH", data)
            for motor in data[4:]:
                self._answer(motor, bytes(self.motors[motor].table[address : address + length]))
        elif instruction == SYNC_WRITE:
            address, length = struct.unpack_from("<HH", data)
            rows = [data[at : at + 1 + length] for at in range(4, len(data), 1 + length)]
            self.writes.append((address, {row[0]: row[1:] for row in rows}))
            for row in rows:
                self.motors[row[0]].write(address, row[1:])
        elif instruction == READ:
            address, length = struct.unpack_from("<HH", data)
            self._answer(identifier, bytes(self.motors[identifier].table[address : address + length]))
        elif instruction == WRITE:
            address = struct.unpack_from("<H", data)[0]
            self.writes.append((address, {identifier: data[2:]}))
            self._answer(identifier, b"", self.motors[identifier].write(address, data[2:]))
        elif instruction == REBOOT:
            self.motors[identifier].reboot()
            self._answer(identifier, b"")
        elif instruction == PING:
            self._answer(identifier, struct.pack("<HB", 1200, 52))

    def _answer(self, motor, data, error=0):
        if motor in self.mute:
            return
        body = bytes((0x55, error)) + data
        body = body[:2] + body[2:].replace(b"\xff\xff\xfd", b"\xff\xff\xfd\xfd")
        packet = HEADER + bytes((motor,)) + struct.pack("<H", len(body) + 2) + body
        packet += struct.pack("<H", crc16(packet))
        if self.mangle is not None:
            packet = self.mangle(motor, packet)
        sleep(self.late_s)
        os.write(self._ours, packet)
