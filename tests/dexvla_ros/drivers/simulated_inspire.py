"""An Inspire hand: pymodbus' own server with the hand's registers, on TCP or on a pseudo-terminal."""

import asyncio
import os
import threading
import tty

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

FIRST, LAST = 1000, 1700
ANGLE_SET, ANGLE_ACT = 1486, 1546


class SimulatedInspire:
    """Angles follow their set-points at once; what it sends can be delayed, damaged or kept back.

    Args:
        transport: tcp or rtu. port: of TCP, to come back under the same one.
    """

    def __init__(self, transport="tcp", port=0):
        self.transport = transport
        self.counts = [1000, 900, 800, 700, 600, 500]
        self.errors, self.states, self.temperatures = [0] * 6, [2] * 6, [40] * 6
        self.writes = []
        self.refuse, self.mangle = False, None
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._port = port
        if transport == "rtu":
            self._ours, theirs = os.openpty()
            self._server_end, self._server_theirs = os.openpty()
            for end in (self._ours, theirs, self._server_end, self._server_theirs):
                tty.setraw(end)
            self.address = os.ttyname(theirs)
            self._keep = theirs
            self._pumps = [
                threading.Thread(target=self._pump, args=ends, daemon=True)
                for ends in ((self._ours, self._server_end), (self._server_end, self._ours))
            ]
            for pump in self._pumps:
                pump.start()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10.0)

    def stop(self):
        asyncio.run_coroutine_threadsafe(self._server.shutdown(), self._loop).result(10.0)
        self._thread.join(10.0)
        if self.transport == "rtu":
            for end in (self._ours, self._keep, self._server_end, self._server_theirs):
                os.close(end)

    def _run(self):
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())

    async def _serve(self):
        registers = SimData(FIRST, count=LAST - FIRST, values=0, datatype=DataType.REGISTERS)
        device = SimDevice(1, simdata=[registers], action=self._on_access)
        if self.transport == "tcp":
            address = ("127.0.0.1", self._port)
            self._server = ModbusTcpServer(device, address=address, trace_packet=self._on_packet)
        else:
            path = os.ttyname(self._server_theirs)
            self._server = ModbusSerialServer(
                device, port=path, baudrate=115200, trace_packet=self._on_packet
            )
        await self._server.serve_forever(background=True)
        if self.transport == "tcp":
            self._port = self._server.transport.sockets[0].getsockname()[1]
            self.address = f"127.0.0.1:{self._port}"
        self._ready.set()
        await self._server.serving

    @staticmethod
    def _pump(source, target):
        """The cable between two pseudo-terminals."""
        try:
            while data := os.read(source, 1024):
                os.write(target, data)
        except OSError:
            pass

    def _on_packet(self, sending, data):
        return self.mangle(data) if sending and self.mangle is not None else data

    async def _on_access(self, code, start, address, count, registers, values):
        if self.refuse:
            return ExcCodes.DEVICE_BUSY
        if values:
            self.writes.append((address, list(values)))
            if address == ANGLE_SET:
                self.counts = [now if new == 65535 else new for now, new in zip(self.counts, values)]
            elif address == 1004:
                self.errors = [0] * 6
        else:
            registers[ANGLE_ACT - FIRST : ANGLE_ACT - FIRST + 6] = [value & 0xFFFF for value in self.counts]
            for first, row in ((1606, self.errors), (1612, self.states), (1618, self.temperatures)):
                registers[first - FIRST : first - FIRST + 3] = [row[i] << 8 | row[i + 1] for i in (0, 2, 4)]
        return None
