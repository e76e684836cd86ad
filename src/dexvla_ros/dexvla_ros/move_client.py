"""A program's client of motion_node."""

from collections.abc import Callable

from rclpy.action import ActionClient
from rclpy.task import Future

from dexvla_msgs.action import MoveTo
from dexvla_ros.graph_client import GraphClient, GraphError
from dexvla_ros.messages.move_goals import goal_to_message
from dexvla_ros.motion.goals import MoveGoal

_READY_TIMEOUT_S = 15.0
# Real time after which a motion that does not end counts as lost.
_MOVE_TIMEOUT_S = 600.0
_CANCEL_TIMEOUT_S = 10.0


class MoveClient:
    """Sends goals to motion_node, one after the other.

    Args:
        client: turned by this one while it waits.
    """

    def __init__(self, client: GraphClient) -> None:
        self._client = client
        self._goals = ActionClient(client.node, MoveTo, "move_to")

    def move(
        self, goal: MoveGoal, on_feedback: Callable[[str, float], None] = lambda phase, share: None
    ) -> MoveTo.Result:
        """Send a goal and wait for its end; an interrupt cancels it, and is raised when the robot has braked.

        Args:
            on_feedback: told the phase, and the share of the motion's time that has passed.

        Raises:
            GraphError: motion_node does not run, does not take the goal, or does not answer.
        """
        client = self._client
        try:
            client.wait_until(self._goals.server_is_ready, _READY_TIMEOUT_S, "the action move_to is there")
        except GraphError as error:
            raise GraphError(
                "motion_node does not run: start it with `dexvla run`, or check ROS_DOMAIN_ID."
            ) from error
        sent = self._goals.send_goal_async(
            goal_to_message(goal),
            feedback_callback=lambda message: on_feedback(message.feedback.phase, message.feedback.progress),
        )
        try:
            handle = client.wait_for(sent, _READY_TIMEOUT_S, "motion_node answers to a goal")
            if not handle.accepted:
                raise GraphError("motion_node did not take the goal; its log says why.")
            ended = handle.get_result_async()
            client.wait_until(
                lambda: ended.done() or not self._goals.server_is_ready(), _MOVE_TIMEOUT_S, "the motion ends"
            )
            if not ended.done():
                raise GraphError("motion_node is gone; the robot comes to rest with the last trajectory.")
            return ended.result().result
        except KeyboardInterrupt:
            self._cancel(sent)
            raise

    def _cancel(self, sent: Future) -> None:
        """Cancel a goal, also one that was not answered yet; returns when the robot has braked."""
        handle = self._client.wait_for(sent, _CANCEL_TIMEOUT_S, "motion_node answers to a goal")
        if handle.accepted:
            self._client.wait_for(handle.cancel_goal_async(), _CANCEL_TIMEOUT_S, "the goal is cancelled")
            self._client.wait_for(handle.get_result_async(), _CANCEL_TIMEOUT_S, "the robot brakes")
