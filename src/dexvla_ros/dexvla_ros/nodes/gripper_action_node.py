"""gripper_action_node: trajectories for a gripper that takes actions only, such as the Franka Hand."""

import sys
from collections.abc import Mapping
from functools import partial

from rclpy.action import ActionClient
from rclpy.action.client import ClientGoalHandle
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMessage

from dexvla_model.errors import UserError
from dexvla_ros.gripper_bridge import BRIDGE_NODE, BridgeSettings, GoalEnd, GripperBridge
from dexvla_ros.messages.gripper_goals import ACTION_TYPES, GripperGoals, gripper_goals
from dexvla_ros.messages.trajectories import trajectory_from_message
from dexvla_ros.nodes.diagnostics import ERROR, OK, WARN
from dexvla_ros.nodes.parameters import ParameterSpec
from dexvla_ros.nodes.qos import COMMAND, SENSOR
from dexvla_ros.nodes.stack_node import StackNode, run_node

PARAMETERS = (
    ParameterSpec(
        "controller", "gripper_controller", "Controller of the robot file whose topic the node listens on."
    ),
    ParameterSpec("action", "franka_gripper/gripper_action", "Name of the gripper's action."),
    ParameterSpec("action_type", ACTION_TYPES[0], "Its type.", allowed=ACTION_TYPES),
    ParameterSpec(
        "scale", 1.0, "The action's position is scale times the joint's, plus offset.", -1000.0, 1000.0
    ),
    ParameterSpec("offset", 0.0, "Added to the action's position, in its unit.", -1000.0, 1000.0),
    ParameterSpec("max_effort", 30.0, "The force of a goal, N (Nm where the joint turns).", 0.0, 1000.0),
    ParameterSpec(
        "tolerance",
        0.002,
        "Positions that differ by less are the same, m (rad where the joint turns).",
        1e-5,
        1.0,
    ),
    ParameterSpec("rate_hz", 4.0, "Goals per second, at most, Hz.", 0.1, 50.0),
    ParameterSpec("lookahead_s", 0.2, "A goal is where the trajectory is this much later, s.", 0.0, 2.0),
    ParameterSpec(
        "answer_timeout_s",
        2.0,
        "A server that has not answered a goal for so long is given up, s.",
        0.1,
        60.0,
    ),
    ParameterSpec("goal_timeout_s", 10.0, "So is one that has not ended a goal, s.", 0.1, 120.0),
    ParameterSpec("retry_s", 1.0, "Pause after a goal that was rejected or given up, s.", 0.05, 60.0),
)
_POLL_S = 0.05
# Joint states without the gripper's joint for this long are a warning.
_UNSEEN_S = 2.0


class GripperActionNode(StackNode):
    """Stands where a trajectory controller of the gripper would stand."""

    parameters = PARAMETERS

    def __init__(self) -> None:
        self._client: ActionClient | None = None
        self._bridge: GripperBridge | None = None
        super().__init__(BRIDGE_NODE)

    def configure(self) -> None:
        settings = self.settings
        controller = self.robot.controller(settings.controller)
        if len(controller.joints) != 1:
            raise UserError(
                f"{self.robot.path}: {controller.name} has {len(controller.joints)} joints, but "
                "gripper_action_node drives one; name the gripper's controller in its parameter controller."
            )
        (self._joint,) = controller.joints
        self._goals: GripperGoals = gripper_goals(settings.action_type)
        self._handles: dict[int, ClientGoalHandle] = {}
        self._seen_s = self.real_s()
        self._client = ActionClient(self, self._goals.kind, settings.action)
        timing = {name: getattr(settings, name) for name in BridgeSettings.__dataclass_fields__}
        self._bridge = GripperBridge(
            self._joint, self.robot.limits[self._joint], BridgeSettings(**timing), self
        )
        self.listen(JointTrajectoryMessage, controller.topic, self._on_trajectory, COMMAND)
        self.listen(JointState, "joint_states", self._on_joint_state, SENSOR)
        self.every(_POLL_S, self._check)

    def deactivate(self) -> None:
        self._bridge.stop()

    def release(self) -> None:
        if self._client is not None:
            self._client.destroy()
            self._client = None

    def on_failure(self, reason: str) -> None:
        if self._bridge is not None:
            self._bridge.stop()

    def health(self) -> tuple[bytes, str, Mapping[str, object]]:
        bridge = self._bridge
        wanted = bridge.wanted(self.now_s())
        values = {**bridge.counts, "wanted": "nothing" if wanted is None else wanted}
        values["last_goal"] = bridge.outcome.value if bridge.outcome else "none"
        if not self._client.server_is_ready():
            return ERROR, f"nobody serves the action {self.settings.action}", values
        if bridge.problem:
            return WARN, bridge.problem, values
        if self.real_s() - self._seen_s > _UNSEEN_S:
            return (
                WARN,
                f"joint_states lack {self._joint}: nobody adds the gripper's own joint states",
                values,
            )
        return OK, "follows trajectories", values

    # What the bridge asks for

    def is_ready(self) -> bool:
        """Whether the gripper's node is there."""
        return self._client.server_is_ready()

    def send(self, number: int, position: float) -> None:
        """Send a goal."""
        place = self.settings.scale * position + self.settings.offset
        goal = self._goals.make(self._joint, place, self.settings.max_effort)
        future = self._client.send_goal_async(goal)
        future.add_done_callback(lambda answered: self._guard(self._on_answer)(number, answered))

    def cancel(self, number: int) -> None:
        """Cancel a goal."""
        handle = self._handles.get(number)
        if handle is not None:
            handle.cancel_goal_async()

    # Callbacks

    def _check(self) -> None:
        before = self._bridge.problem
        self._bridge.check(self.now_s(), self.real_s())
        if self._bridge.problem != before:
            self._say(before)

    def _say(self, before: str) -> None:
        problem = self._bridge.problem
        if problem:
            self.get_logger().error(problem)
        elif before:
            self.get_logger().info("the gripper follows again")
        self.publish_diagnostics()

    def _on_trajectory(self, message: JointTrajectoryMessage) -> None:
        refusal = self._bridge.on_trajectory(trajectory_from_message(message), self.now_s())
        if refusal:
            self.report_once(f"a trajectory for {self._joint} is refused: {refusal}")

    def _on_joint_state(self, message: JointState) -> None:
        if self._joint in message.name:
            self._seen_s = self.real_s()

    def _on_answer(self, number: int, future) -> None:
        handle = future.result()
        before = self._bridge.problem
        if handle is None or not handle.accepted:
            self._bridge.on_rejected(number, self.real_s())
        else:
            self._handles[number] = handle
            handle.get_result_async().add_done_callback(
                lambda ended: self._guard(partial(self._on_result, number))(ended)
            )
            self._bridge.on_accepted(number)
        if self._bridge.problem != before:
            self._say(before)

    def _on_result(self, number: int, future) -> None:
        self._handles.pop(number, None)
        response = future.result()
        before = self._bridge.problem
        end = GoalEnd.ABORTED if response is None else self._goals.end(response.status, response.result)
        self._bridge.on_end(number, end)
        if self._bridge.problem != before:
            self._say(before)


def main() -> None:
    """Run the node; the entry point of the command `gripper_action_node`."""
    sys.exit(run_node(GripperActionNode))


if __name__ == "__main__":
    main()
