"""Messages out of a bag, in the order in which they were received."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rclpy.serialization import deserialize_message
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.typesys import Stores, get_typestore

from dexvla_model.errors import UserError
from dexvla_ros.recording.message_definitions import message_class
from dexvla_ros.recording.repair import is_cut_off


@dataclass(frozen=True)
class BagMessage:
    """A decoded message of `topic`, received at `received_ns` of the recorder's clock."""

    topic: str
    received_ns: int
    message: Any


class BagReader:
    """A rosbag2 directory (MCAP or SQLite), opened for reading; a context manager. The bag is never written to.

    Messages are decoded by ROS itself, as they are for the live nodes. rosbags' own decoder expects padding
    after an empty list of floats, which Fast CDR does not write: it fails on trajectories without efforts.

    Raises:
        UserError: there is no bag, it was cut off, or it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_dir():
            raise UserError(
                f"{path}: there is no such bag (needed: a folder with metadata.yaml and .mcap files)."
            )
        if is_cut_off(path):
            raise UserError(f"{path}: this bag was cut off; run: dexvla record --repair {path}")
        try:
            self._reader = AnyReader([path], default_typestore=get_typestore(Stores.ROS2_JAZZY))
            self._reader.open()
        except (AnyReaderError, OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{path}: this bag cannot be read ({error}); check it with ros2 bag info."
            ) from error

    def __enter__(self) -> "BagReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.close()

    @property
    def types(self) -> dict[str, str]:
        """Message type by topic, for every topic that has messages."""
        return {c.topic: c.msgtype for c in self._reader.connections if c.msgcount}

    @property
    def duration_s(self) -> float:
        """From the first to the last message, in s."""
        return self._reader.duration / 1e9 if self._reader.message_count else 0.0

    def messages(self, topics: Sequence[str]) -> Iterator[BagMessage]:
        """The messages of some topics in the order of receipt.

        Raises:
            UserError: a message cannot be decoded, or the bag is damaged there.
        """
        connections = [c for c in self._reader.connections if c.topic in topics and c.msgcount]
        classes = {c.msgtype: message_class(c.msgtype) for c in connections}
        topic = ""
        if not connections:
            return
        try:
            for connection, received_ns, raw in self._reader.messages(connections):
                topic = connection.topic
                yield BagMessage(topic, received_ns, deserialize_message(raw, classes[connection.msgtype]))
        except Exception as error:
            # Decoders of damaged data raise whatever their next step raises; a bug elsewhere is not in here.
            if isinstance(error, (UserError, GeneratorExit)) or not topic:
                raise
            raise UserError(
                f"{self.path}: a message after the last one of {topic} cannot be read "
                f"({type(error).__name__}: {error}); run: dexvla record --repair {self.path}"
            ) from error
