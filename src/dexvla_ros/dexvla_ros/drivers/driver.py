"""Keeps one device safe: connects it, watches it, follows commands, and holds whenever something is wrong."""

import threading
from collections.abc import Callable, Sequence
from time import monotonic

import numpy as np

from dexvla_ros.drivers.device import BadAnswer, Device, DeviceError, DeviceState
from dexvla_ros.drivers.driver_settings import DriverSettings, DriverStatus, JointBounds, Phase
from dexvla_ros.drivers.setpoint import CommandVector, InvalidCommand, Setpoint


# A motor that was too hot has to be this much cooler before it moves again.
_COOLER_BY_C = 5.0
_ENABLE_PERIOD_S = 1.0
# Enabling takes a few answers; only then is it worth a word.
_ENABLE_PATIENCE_S = 2.0


class Driver:
    """One device and its newest command. `step` is called at `rate_hz`; the other methods by any thread.

    Args:
        on_problem, on_recovery: called with one sentence when a problem begins, and when it is over.
        clock: s; never jumps.
    """

    def __init__(
        self,
        device: Device,
        settings: DriverSettings,
        bounds: JointBounds,
        on_problem: Callable[[str], None] = lambda text: None,
        on_recovery: Callable[[str], None] = lambda text: None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.phase = Phase.DISCONNECTED
        self._device, self._settings, self._bounds, self._clock = device, settings, bounds, clock
        self._on_problem, self._on_recovery = on_problem, on_recovery
        self._commands = CommandVector(device.joints, bounds.lower, bounds.upper)
        self._setpoint = Setpoint(bounds.velocity, settings.catch_up)
        margin = settings.plausible_margin * (bounds.upper - bounds.lower)
        self._plausible = (bounds.lower - margin, bounds.upper + margin)
        # One for the bus, which may keep a thread waiting, and one for the newest command, which may not.
        self._bus, self._newest = threading.Lock(), threading.Lock()
        self._command: tuple[np.ndarray, float] | None = None
        self._refusal: tuple[str, float] | None = None
        self._clamped: tuple[tuple[str, ...], float] | None = None
        self._connected = False
        self._wanted: bool | None = True if settings.auto_enable else None
        self._hot = False
        self._problem, self._problem_kind, self._severe = "", "", False
        self._state: DeviceState | None = None
        self._misses, self._pause_s, self._retry_at_s, self._stepped_at_s = 0, 0.0, -np.inf, None
        self._enable_at_s, self._disabled_since_s = -np.inf, None
        counted = ("answers lost", "connections lost", "commands refused", "commands clamped")
        self._counts = dict.fromkeys(counted, 0)

    def command(self, names: Sequence[str], positions: Sequence[float]) -> None:
        """Take a command in rad or m, by name; what is no command to this device is refused, and shown."""
        now_s = self._clock()
        with self._newest:
            try:
                target, clamped = self._commands.take(names, positions)
            except InvalidCommand as error:
                self._refusal = (str(error), now_s)
                self._counts["commands refused"] += 1
                return
            if clamped:
                self._clamped = (clamped, now_s)
                self._counts["commands clamped"] += 1
            self._command = (target, now_s)

    def step(self) -> DeviceState | None:
        """Read the device and move it on; its state, or None where there is none that is fresh."""
        with self._bus:
            now_s = self._clock()
            previous_s, self._stepped_at_s = self._stepped_at_s, now_s
            longest_s = 2.0 / self._settings.rate_hz
            elapsed_s = longest_s if previous_s is None else min(now_s - previous_s, longest_s)
            try:
                if not self._connected:
                    self._connect(now_s)
                return self._read_and_move(now_s, elapsed_s) if self._connected else None
            except DeviceError as error:
                self._lose(str(error))
                return None
            except Exception as error:
                self._lose(f"{type(error).__name__}: {error}")
                raise

    def enable(self, wanted: bool) -> tuple[bool, str]:
        """Power the motors, or take the power away; whether that was possible, and a sentence."""
        with self._bus:
            if not self._connected:
                return False, self._problem or "not connected yet"
            try:
                self._device.enable() if wanted else self._device.disable()
            except DeviceError as error:
                return False, str(error)
            self._wanted, self._enable_at_s = wanted, self._clock()
            return True, "switched on" if wanted else "switched off"

    def clear_faults(self) -> tuple[bool, str]:
        """Acknowledge the device's faults; whether that was possible, and a sentence."""
        with self._bus:
            if not self._connected:
                return False, self._problem or "not connected yet"
            try:
                self._device.clear_faults()
            except DeviceError as error:
                return False, str(error)
            return True, "cleared; a fault whose cause is still there comes back"

    def status(self) -> DriverStatus:
        """How device and driver are."""
        values: dict[str, object] = {"phase": self.phase.value, **self._counts}
        state = self._state  # the driver's thread may forget it meanwhile
        if state is not None:
            values |= {f"temperature {name}, C": value for name, value in state.temperatures_c.items()}
            values |= state.values
            values["faults"] = "; ".join(state.faults) or "none"
        return DriverStatus(self.phase, self._problem, self._severe, values)

    def close(self) -> None:
        """Let go of the device; it holds. A later `step` connects again."""
        with self._bus:
            if self._connected and self.phase is Phase.FOLLOWING:
                try:
                    self._device.write(self._setpoint.positions)
                except DeviceError:
                    pass  # it is going anyway, and holds what it was told last
            self._device.close()
            self._connected, self.phase, self._retry_at_s = False, Phase.DISCONNECTED, -np.inf
            self._state, self._stepped_at_s = None, None
            self._setpoint.forget()
        with self._newest:
            self._command = self._refusal = self._clamped = None

    def _connect(self, now_s: float) -> None:
        if now_s < self._retry_at_s:
            return
        self._device.connect()
        self._connected, self._misses, self._disabled_since_s = True, 0, None
        self._setpoint.forget()

    def _lose(self, reason: str) -> None:
        """Give the connection up; the next try follows after a pause that grows."""
        first_s, max_s = self._settings.reconnect_first_s, self._settings.reconnect_max_s
        self._pause_s = min(max(first_s, 2.0 * self._pause_s), max_s)
        self._retry_at_s = self._clock() + self._pause_s
        self._counts["connections lost"] += int(self._connected)
        self._device.close()
        self._connected, self._state, self.phase = False, None, Phase.DISCONNECTED
        self._setpoint.forget()
        self._report("connection", f"{reason}; tries again", severe=True)

    def _read_and_move(self, now_s: float, elapsed_s: float) -> DeviceState | None:
        try:
            state = self._device.read()
            self._check(state)
            self._move(state, now_s, elapsed_s)
        except BadAnswer as error:
            self._misses += 1
            self._counts["answers lost"] += 1
            if self._misses >= self._settings.misses_max:
                self._lose(f"{error}, {self._misses} times in a row")
            return None
        self._misses, self._pause_s, self._state = 0, 0.0, state
        return state

    def _check(self, state: DeviceState) -> None:
        outside = ~((state.positions >= self._plausible[0]) & (state.positions <= self._plausible[1]))
        for index in np.flatnonzero(outside):  # not a number is outside, too
            joint, position = self._device.joints[index], state.positions[index]
            raise BadAnswer(f"{joint} is measured at {position:.4g}, far out of its limits")

    def _move(self, state: DeviceState, now_s: float, elapsed_s: float) -> None:
        faults = (*state.faults, *self._overheated(state))
        if faults:
            self._stop_at(state, Phase.FAULT)
            remedy = "; mend the cause and call clear_faults" if state.faults else ""
            problem = f"holds: {'; '.join(faults)}{remedy}"
            self._report("fault " + "; ".join(state.faults), problem, severe=True)
            return
        if not state.enabled or self._wanted is False:
            self._stop_at(state, Phase.DISABLED)
            self._power(state, now_s)
            return
        self._disabled_since_s = None
        if self._setpoint.positions is None or self.phase not in (Phase.HOLDING, Phase.FOLLOWING):
            self._setpoint.start_at(state.positions)
            self.phase = Phase.HOLDING
        with self._newest:
            command = self._command
        if command is None or now_s - command[1] > self._settings.command_timeout_s:
            self._hold()
        else:
            self.phase = Phase.FOLLOWING
            self._device.write(self._setpoint.towards(command[0], elapsed_s))
        self._report_commands(now_s, command is not None)

    def _hold(self) -> None:
        if self.phase is Phase.FOLLOWING:
            self._device.write(self._setpoint.positions)
            self._setpoint.start_at(self._setpoint.positions)
            self.phase = Phase.HOLDING

    def _stop_at(self, state: DeviceState, phase: Phase) -> None:
        """Hold where the device is measured, told once; what comes afterwards begins there."""
        if self.phase is Phase.FOLLOWING and state.enabled:
            self._device.write(state.positions)
        self._setpoint.start_at(state.positions)
        self.phase = phase

    def _overheated(self, state: DeviceState) -> tuple[str, ...]:
        limit_c = self._settings.temperature_max_c - (_COOLER_BY_C if self._hot else 0.0)
        hot = tuple(f"{name} is at {c:.0f} C" for name, c in state.temperatures_c.items() if c >= limit_c)
        self._hot = bool(hot)
        return hot

    def _power(self, state: DeviceState, now_s: float) -> None:
        if not self._wanted:
            self._report("disabled", "the motors are off; call enable", severe=True)
            return
        if self._disabled_since_s is None:
            self._disabled_since_s = now_s
        if now_s - self._enable_at_s >= _ENABLE_PERIOD_S:
            self._enable_at_s = now_s
            self._device.enable()
        if now_s - self._disabled_since_s > _ENABLE_PATIENCE_S:
            problem = "the motors are off and do not switch on; look at the power"
            self._report("disabled", problem, severe=True)

    def _report_commands(self, now_s: float, commanded: bool) -> None:
        recent_s = max(1.0, self._settings.command_timeout_s)
        if self._refusal is not None and now_s - self._refusal[1] <= recent_s:
            self._report("refused", f"{self._refusal[0]}: refused", severe=self.phase is Phase.HOLDING)
        elif self.phase is Phase.HOLDING and commanded:
            patience = f"{self._settings.command_timeout_s:g} s"
            self._report("stale", f"holds: no command for more than {patience}", severe=False)
        elif self._clamped is not None and now_s - self._clamped[1] <= recent_s:
            joints = ", ".join(self._clamped[0])
            self._report("clamped", f"commands beyond the limits of {joints}", severe=False)
        else:
            self._report_warmth()

    def _report_warmth(self) -> None:
        state = self._state
        warm = {} if state is None else state.temperatures_c
        limit_c = self._settings.temperature_warn_c
        names = [name for name, temperature_c in warm.items() if temperature_c >= limit_c]
        if names:
            self._report("warm", f"warmer than {limit_c:g} C: {', '.join(names)}", severe=False)
        else:
            self._report("", "", severe=False)

    def _report(self, kind: str, problem: str, severe: bool) -> None:
        """Remember what is wrong; say so when it is something else than before."""
        before = self._problem_kind
        self._problem_kind, self._problem, self._severe = kind, problem, severe
        if kind and kind != before:
            self._on_problem(f"{self._device.name}: {problem}.")
        elif before and not kind:
            self._on_recovery(f"{self._device.name} is all right again.")
