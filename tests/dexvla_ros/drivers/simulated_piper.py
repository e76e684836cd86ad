"""An arm on the other end of a CAN bus, from the frame layouts of piper_sdk, not with the driver's code."""

import struct
import threading
from dataclasses import dataclass, field

import can


@dataclass
class SimulatedPiper:
    """Follows joint commands at once, reports 50 times per second, and misbehaves as it is told."""

    channel: str
    joints_mdeg: list = field(default_factory=lambda: [0, 90_000, -60_000, 0, 30_000, 0])
    gripper_um: int = 70_000
    enabled: bool = True
    control_mode: int = 1
    arm_state: int = 0
    limit_bits: int = 0
    motor_state: list = field(default_factory=lambda: [0] * 6)
    motor_c: list = field(default_factory=lambda: [35] * 6)
    silent: set = field(default_factory=set)
    short: bool = False
    noise: bool = False
    received: list = field(default_factory=list)

    def __post_init__(self):
        self._bus = can.Bus(interface="virtual", channel=self.channel)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self):
        self._stopping.set()
        self._thread.join()
        self._bus.shutdown()

    def commands(self, identifier):
        return [data for received, data in self.received if received == identifier]

    def _run(self):
        while not self._stopping.wait(0.02):
            while (message := self._bus.recv(timeout=0.0)) is not None:
                self._take(message.arbitration_id, bytes(message.data))
            for identifier, data in self._report():
                if identifier not in self.silent:
                    self._send(identifier, data[:5] if self.short else data)
            if self.noise:
                self._send(0x123, b"\xff" * 8)
                self._bus.send(can.Message(arbitration_id=0x2A5, data=b"\x7f" * 8, is_extended_id=True))

    def _send(self, identifier, data):
        self._bus.send(can.Message(arbitration_id=identifier, data=data, is_extended_id=False))

    def _report(self):
        j = self.joints_mdeg
        yield 0x2A1, bytes((self.control_mode, self.arm_state, 1, 0, 0, 0, self.limit_bits, 0))
        for index, identifier in enumerate((0x2A5, 0x2A6, 0x2A7)):
            yield identifier, struct.pack(">ii", j[2 * index], j[2 * index + 1])
        yield 0x2A8, struct.pack(">ihBB", self.gripper_um, 100, 0x40 if self.enabled else 0, 0)
        for index in range(6):
            yield 0x251 + index, struct.pack(">hhi", 1500 if index == 0 else 0, 200, 0)
            state = self.motor_state[index] | (0x40 if self.enabled else 0)
            yield 0x261 + index, struct.pack(">HhbBH", 240, 30, self.motor_c[index], state, 0)

    def _take(self, identifier, data):
        self.received.append((identifier, data))
        if identifier == 0x151:
            self.control_mode = data[0]
        elif identifier == 0x471 and data[0] == 7:
            self.enabled = data[1] == 2
        elif identifier == 0x475 and data[5] == 0xAE:
            self.motor_state = [0] * 6
        elif identifier == 0x150 and data[0] == 2:
            self.arm_state, self.enabled = 0, False
        elif self.enabled and identifier in (0x155, 0x156, 0x157):
            first = 2 * (identifier - 0x155)
            self.joints_mdeg[first : first + 2] = struct.unpack(">ii", data)
        elif self.enabled and identifier == 0x159:
            self.gripper_um = struct.unpack(">i", data[:4])[0]
