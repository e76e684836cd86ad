"""Home before and after a task: a client of motion_node."""

from rclpy.action import ActionClient
from rclpy.action.client import ClientGoalHandle

from dexvla_msgs.action import MoveTo
from dexvla_ros.nodes.stack_node import StackNode


class HomeMotion:
    """Asks motion_node to go home, one time after the other."""

    def __init__(self, node: StackNode) -> None:
        self._client = ActionClient(node, MoveTo, "move_to")
        self._handle: ClientGoalHandle | None = None
        self._wanted = 0

    async def go(self) -> str:
        """Go home; why the robot is not there, in one sentence, or empty."""
        self._wanted += 1
        turn = self._wanted
        if not self._client.server_is_ready():
            return (
                "motion_node, which takes the robot home, does not run: start it, or set home_around_tasks "
                "of vlm_node to false."
            )
        handle = await self._client.send_goal_async(MoveTo.Goal(named="home"))
        if not handle.accepted:
            return "motion_node did not take the goal; its log says why."
        if turn == self._wanted:
            self._handle = handle
        else:
            handle.cancel_goal_async()
        response = await handle.get_result_async()
        if self._handle is handle:
            self._handle = None
        result = response.result
        return "" if result.outcome == MoveTo.Result.SUCCEEDED else result.message

    def cancel(self) -> None:
        """Brake, where a motion is under way or about to be."""
        self._wanted += 1
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.cancel_goal_async()

    def destroy(self) -> None:
        """Leave the graph."""
        self.cancel()
        self._client.destroy()
