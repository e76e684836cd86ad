"""What the operator's page shows; written by the node's callbacks, read by the server's threads."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from dexvla_model.robot import RobotDescription

_HISTORY = 50
# Rates are those of this much real time.
_RATE_WINDOW_S = 3.0
_RATE_SAMPLES = 2000


@dataclass
class _Rate:
    wanted_hz: float
    arrivals_s: deque[float] = field(default_factory=lambda: deque(maxlen=_RATE_SAMPLES))

    def hz(self, now_s: float) -> float:
        recent = [arrival_s for arrival_s in self.arrivals_s if now_s - arrival_s <= _RATE_WINDOW_S]
        return len(recent) / _RATE_WINDOW_S


class DashboardState:
    """A moment of the robot; every method may be called from any thread.

    Args:
        clock: real time that never jumps, in s.
    """

    def __init__(self, robot: RobotDescription, clock: Callable[[], float]) -> None:
        self._robot, self._clock = robot, clock
        self._lock = threading.Lock()
        self._instruction, self._running, self._outcome = "", False, ""
        self._history: deque[dict] = deque(maxlen=_HISTORY)
        self._began_s = clock()
        self._positions: dict[str, float] = {}
        self._diagnostics: dict[str, dict] = {}
        self._images: dict[str, tuple[float, Callable[[], bytes]]] = {}
        self._jpegs: dict[str, tuple[float, bytes]] = {}
        topics = {camera.topic: camera.rate_hz for camera in robot.cameras}
        topics |= {"joint_states": robot.rates.joint_state_hz, "substep": 0.0, "action_chunk": 0.0}
        self._rates = {topic: _Rate(wanted_hz) for topic, wanted_hz in topics.items()}

    def arrived(self, topic: str) -> None:
        """A message came on a topic whose rate is shown."""
        with self._lock:
            self._rates[topic].arrivals_s.append(self._clock())

    def joints(self, positions: dict[str, float]) -> None:
        """Take measured positions, in each joint's unit."""
        with self._lock:
            self._positions.update(positions)

    def image(self, role: str, jpeg: Callable[[], bytes]) -> None:
        """Take a camera's newest picture; it is encoded only when somebody looks."""
        with self._lock:
            self._images[role] = (self._clock(), jpeg)

    def sub_step(self, instruction: str, text: str, episode: int) -> None:
        """The policy said a sub-step."""
        with self._lock:
            self._instruction, self._running = instruction, True
            last = self._history[-1] if self._history else None
            if last is None or (last["text"], last["episode"]) != (text, episode):
                since_s = self._clock() - self._began_s
                self._history.append({"text": text, "episode": episode, "seconds": round(since_s, 1)})

    def task(self, instruction: str | None, running: bool, outcome: str) -> None:
        """A task began or ended; `outcome` says how it stands, for people."""
        with self._lock:
            if running and not self._running:
                self._began_s = self._clock()
            if instruction is not None:
                self._instruction = instruction
            self._running, self._outcome = running, outcome

    def diagnostic(self, name: str, level: int, message: str, values: dict[str, str]) -> None:
        """A node said how it is."""
        with self._lock:
            self._diagnostics[name] = {
                "level": level,
                "message": message,
                "values": values,
                "seen_s": self._clock(),
            }

    def jpeg(self, role: str) -> bytes | None:
        """A camera's newest picture; None before the first."""
        with self._lock:
            newest, cached = self._images.get(role), self._jpegs.get(role)
        if newest is None:
            return None
        stamp_s, encode = newest
        if cached is None or cached[0] != stamp_s:
            cached = (stamp_s, encode())
            with self._lock:
                self._jpegs[role] = cached
        return cached[1]

    def snapshot(self) -> dict:
        """Everything but the pictures, as JSON has it."""
        with self._lock:
            now_s = self._clock()
            acting = self._diagnostics.get("action_node", {})
            return {
                "robot": self._robot.name,
                "task": {
                    "instruction": self._instruction,
                    "running": self._running,
                    "outcome": self._outcome,
                    "sub_step": self._history[-1]["text"] if self._running and self._history else "",
                    "history": list(self._history),
                },
                "hold": {
                    "state": acting.get("values", {}).get("state", "unknown"),
                    "reason": acting.get("message", "action_node has not said anything"),
                },
                "diagnostics": [
                    {
                        "name": name,
                        "level": entry["level"],
                        "message": entry["message"],
                        "age_s": round(now_s - entry["seen_s"], 1),
                    }
                    for name, entry in sorted(self._diagnostics.items())
                ],
                "joints": [self._joint(joint) for joint in self._robot.action_joints],
                "rates": [
                    {"topic": topic, "hz": round(rate.hz(now_s), 1), "wanted_hz": rate.wanted_hz}
                    for topic, rate in self._rates.items()
                ],
                "cameras": [self._camera(camera.role, now_s) for camera in self._robot.cameras],
            }

    def _joint(self, joint: str) -> dict:
        limits = self._robot.limits[joint]
        return {
            "name": joint,
            "position": self._positions.get(joint),
            "lower": max(limits.lower, -1e6),
            "upper": min(limits.upper, 1e6),
            "unit": limits.unit,
        }

    def _camera(self, role: str, now_s: float) -> dict:
        newest = self._images.get(role)
        return {"role": role, "age_s": None if newest is None else round(now_s - newest[0], 2)}
