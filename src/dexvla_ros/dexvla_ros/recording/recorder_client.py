"""Drives a recorder_node from a program: start, marks, verdict, and what it says of itself."""

from collections.abc import Sequence
from pathlib import Path

from std_srvs.srv import Trigger

from dexvla_msgs.msg import RecorderStatus
from dexvla_msgs.srv import MarkSubStep, StartEpisode
from dexvla_ros.graph_client import GraphClient, GraphError
from dexvla_ros.messages.stamps import stamp_from_nanoseconds
from dexvla_ros.nodes.qos import LATCHED
from dexvla_ros.recording.episode_metadata import DISCARDED, FAILURE, SUCCESS, UNJUDGED

# The end of an episode waits for the disk.
_TIMEOUT_S = 90.0
_VERDICTS = {
    SUCCESS: "recorder/success",
    FAILURE: "recorder/failure",
    UNJUDGED: "recorder/stop",
    DISCARDED: "recorder/discard",
}


class RecorderClient:
    """A client of the one recorder in the graph.

    Attributes:
        status: the newest one; None until the first has come.
    """

    def __init__(self, client: GraphClient) -> None:
        self._client = client
        self.status: RecorderStatus | None = None
        self._marks = client.node.create_client(MarkSubStep, "recorder/mark_sub_step")
        client.node.create_subscription(RecorderStatus, "recorder/status", self._on_status, LATCHED)

    @property
    def recording(self) -> bool:
        return self.status is not None and self.status.state == RecorderStatus.RECORDING

    def wait_until_ready(self) -> None:
        """Wait until every topic that the robot file asks for is published."""
        self._client.wait_until(
            lambda: self.status is not None and all(topic.type for topic in self.status.topics),
            _TIMEOUT_S,
            "all cameras and joint_states are there",
        )

    def start(self, instruction: str = "", operator: str = "", tags: Sequence[str] = ()) -> Path:
        """Begin an episode; its bag. What is empty is as in the episode before.

        Raises:
            GraphError: the recorder refuses; the message says why.
        """
        request = StartEpisode.Request(instruction=instruction, operator_name=operator, tags=list(tags))
        response = self._client.call(StartEpisode, "recorder/start", request, _TIMEOUT_S)
        if not response.success:
            raise GraphError(response.message or "The recorder failed; its log says why.")
        return Path(response.path)

    def mark(self, text: str, time_ns: int = 0) -> None:
        """From now, or from a time in the node clock, on the demonstrator is at this sub-step.

        Raises:
            GraphError: no episode is being recorded.
        """
        request = MarkSubStep.Request(text=text, stamp=stamp_from_nanoseconds(time_ns))
        response = self._client.call(MarkSubStep, "recorder/mark_sub_step", request, _TIMEOUT_S)
        if not response.success:
            raise GraphError(response.message or "The recorder failed; its log says why.")

    def send_mark(self, text: str) -> None:
        """As `mark`, without waiting for the answer: for use in a callback."""
        stamp = stamp_from_nanoseconds(self._client.node.get_clock().now().nanoseconds)
        self._marks.call_async(MarkSubStep.Request(text=text, stamp=stamp))

    def judge(self, outcome: str) -> str:
        """End the episode with one of OUTCOMES, or `discarded`; the path of its bag, or `deleted`.

        Raises:
            GraphError: no episode is being recorded, or the bag could not be finished.
        """
        response = self._client.call(Trigger, _VERDICTS[outcome], Trigger.Request(), _TIMEOUT_S)
        if not response.success:
            raise GraphError(response.message or "The recorder failed; its log says why.")
        return response.message

    def _on_status(self, message: RecorderStatus) -> None:
        self.status = message
