"""Topics with messages, and an independent reader of bags."""

import struct
from dataclasses import dataclass, field
from pathlib import Path

from mcap.reader import make_reader

from dexvla_ros.recording.bag_metadata import BagTopic
from dexvla_ros.recording.message_definitions import message_definition

STRING = "std_msgs/msg/String"
IMAGE = "sensor_msgs/msg/Image"


def cdr_string(text: str) -> bytes:
    """A std_msgs/String as it comes over the wire."""
    content = text.encode() + b"\0"
    return b"\x00\x01\x00\x00" + struct.pack("<I", len(content)) + content


@dataclass
class FakeSource:
    """Stands for a subscription."""

    name: str
    type_name: str = STRING
    lost: int = 0
    definition: str = field(init=False)
    bag_topic: BagTopic = field(init=False)

    def __post_init__(self) -> None:
        self.definition = message_definition(self.type_name)
        self.bag_topic = BagTopic(self.name, self.type_name)


def read_messages(bag: Path) -> list[tuple[str, bytes, int, int, int]]:
    """Topic, data, sequence, log time and publish time of every message, by an independent reader."""
    (file,) = bag.glob("*.mcap")
    with file.open("rb") as stream:
        return [
            (channel.topic, message.data, message.sequence, message.log_time, message.publish_time)
            for _, channel, message in make_reader(stream, validate_crcs=True).iter_messages()
        ]
