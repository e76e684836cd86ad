"""The demo's start button: every episode is recorded, marked with what the policy says, judged by physics."""

from pathlib import Path

from dexvla_ros.bringup import RecorderOptions
from dexvla_ros.graph_client import GraphClient
from dexvla_ros.recording.episode_metadata import FAILURE, SUCCESS
from dexvla_ros.recording.recorder_client import RecorderClient


class EpisodeRecording:
    """Does nothing where nothing is to be recorded.

    Args:
        options: None = do not record.
    """

    def __init__(
        self, client: GraphClient, options: RecorderOptions | None, operator: str, tags: tuple[str, ...]
    ) -> None:
        self._recorder = RecorderClient(client) if options is not None else None
        self._operator = operator
        self._tags = tags

    def wait_until_ready(self) -> None:
        """Wait until the recorder sees every topic that it needs."""
        if self._recorder is not None:
            self._recorder.wait_until_ready()

    def start(self, instruction: str) -> None:
        """Begin an episode."""
        if self._recorder is not None:
            self._recorder.start(instruction, self._operator, self._tags)

    def mark(self, text: str) -> None:
        """The policy says another sub-step. Called where nothing may be waited for."""
        if self._recorder is not None and self._recorder.recording:
            self._recorder.send_mark(text)

    def judge(self, success: bool) -> Path | None:
        """End the episode; its bag."""
        if self._recorder is None:
            return None
        return Path(self._recorder.judge(SUCCESS if success else FAILURE))
