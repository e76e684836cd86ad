"""Why a robot does not follow although everything runs: what drivers and controllers say. No ROS."""

from collections.abc import Mapping, Sequence

# franka_msgs/FrankaRobotState.robot_mode in which the arm does not follow.
_FRANKA_MODES = {
    3: "is guided by hand: end the guiding",
    4: "has stopped with a reflex: call error_recovery, then activate its hardware and controllers",
    5: "has its user stop pressed: release it, then activate its hardware and controllers",
    6: "recovers from an error",
}
# ur_dashboard_msgs/SafetyMode.mode in which the arm does not follow.
_UR_MODES = {
    3: "is in protective stop: unlock it on the pendant, then press play or call resend_robot_program",
    4: "recovers from a safety stop",
    5: "is in safeguard stop",
    6: "is in emergency stop",
    7: "is in emergency stop",
    8: "reports a safety violation: restart its safety system",
    9: "reports a safety fault: restart it",
}
_PROGRAM = "runs no program: end the stop on the pendant, then press play or call resend_robot_program"
# What the controller manager calls a controller that takes commands.
ACTIVE = "active"
# Below this share of its speed a robot counts as stopped.
_SCALING_MIN = 0.01


class RobotStops:
    """The newest of what is said; `reason` is empty while nothing keeps the robot from following.

    Args:
        controllers: those that a policy streams to.
    """

    def __init__(self, controllers: Sequence[str]) -> None:
        self._controllers = controllers
        self._reasons: dict[str, str] = {}

    @property
    def reason(self) -> str:
        """One clause; the most particular source speaks first."""
        for source in ("ur mode", "franka mode", "program", "speed", "controllers"):
            if self._reasons.get(source):
                return self._reasons[source]
        return ""

    def on_ur_safety_mode(self, mode: int) -> None:
        """ur_dashboard_msgs/SafetyMode."""
        self._say("ur mode", _UR_MODES.get(mode, ""))

    def on_franka_mode(self, mode: int) -> None:
        """robot_mode of franka_msgs/FrankaRobotState."""
        self._say("franka mode", _FRANKA_MODES.get(mode, ""))

    def on_program_running(self, running: bool) -> None:
        """robot_program_running of a UR driver."""
        self._say("program", "" if running else _PROGRAM)

    def on_speed_scaling(self, percent: float) -> None:
        """speed_scaling of a UR driver, in percent."""
        stopped = percent / 100.0 < _SCALING_MIN
        self._say(
            "speed",
            "has its speed at 0: it is paused, or the slider on the pendant is down" if stopped else "",
        )

    def on_controllers(self, states: Mapping[str, str]) -> None:
        """State by name, from the controller manager."""
        for name in self._controllers:
            state = states.get(name, "not loaded")
            if state != ACTIVE:
                self._reasons["controllers"] = f"the controller {name} is {state}: activate it"
                return
        self._reasons["controllers"] = ""

    def _say(self, source: str, what: str) -> None:
        self._reasons[source] = f"the robot {what}" if what else ""
