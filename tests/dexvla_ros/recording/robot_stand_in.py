"""A robot that publishes when it is told, and remembers every byte."""

import os
from array import array
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from conftest_recording import read_messages
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image, JointState

from dexvla_ros.bringup import NodeProcess
from dexvla_ros.graph_client import GraphTimeout
from dexvla_ros.nodes.qos import SENSOR
from dexvla_ros.recording.recorder_client import RecorderClient

PATIENCE_S = 120.0
CAMERAS = ("cameras/scene/image_raw", "cameras/wrist/image_raw")


@dataclass
class Robot:
    """Stands for a robot: publishes cameras and joints when told, and remembers every byte."""

    client: object
    recorder: RecorderClient
    sent: dict[str, list[bytes]] = field(default_factory=dict)
    publishers: dict = field(default_factory=dict)

    def __post_init__(self):
        self.advertise(JointState, "joint_states", SENSOR)
        for topic in CAMERAS:
            self.advertise(Image, topic, SENSOR)

    def advertise(self, kind, topic, qos):
        """Another publisher; its key."""
        key = f"{topic} {len(self.publishers)}"
        self.publishers[key] = self.client.node.create_publisher(kind, topic, qos)
        return key

    def publish(self, key, message, serialised=True):
        if not serialised:
            self.publishers[key].publish(message)
            self.client.turn()
            return
        # Serialised here: what stands in the gaps between fields is different every time that it is done.
        data = serialize_message(message)
        self.publishers[key].publish(data)
        self.sent.setdefault("/" + key.split()[0].lstrip("/"), []).append(data)
        # Best effort: what is sent in one burst may overwrite itself.
        self.client.turn()

    def publish_all(self, rounds=1):
        """A joint state and an image of each camera, with new content every time."""
        for _ in range(rounds):
            number = float(sum(map(len, self.sent.values())))
            for key in list(self.publishers)[:3]:
                message = JointState(name=["a", "b"], position=[number, np.nan])
                if key.startswith("cameras"):
                    data = array("B", os.urandom(300))
                    message = Image(height=10, width=10, encoding="rgb8", step=30, data=data)
                self.publish(key, message)

    def wait_until(self, condition):
        try:
            self.client.wait_until(condition, PATIENCE_S, "the test goes on")
        except GraphTimeout as timeout:
            raise AssertionError(f"the recorder says {self.recorder.status}") from timeout

    def wait_for_topic(self, name):
        """Wait until the recorder listens to a topic."""
        self.wait_until(lambda: name in {topic.name for topic in self.recorder.status.topics if topic.type})
        self.wait_until(lambda: self.client.node.count_subscribers(name) > 0)

    def start(self, **words):
        """Begin an episode in which everything sent so far is forgotten."""
        self.recorder.wait_until_ready()
        self.wait_until(lambda: all(p.get_subscription_count() for p in self.publishers.values()))
        path = self.recorder.start(**{"instruction": "put it in", **words})
        self.wait_until(lambda: self.recorder.recording)
        self.sent.clear()
        return path

    def count(self, name):
        """Messages of a topic in the episode, as the recorder tells."""
        return sum(topic.messages for topic in self.recorder.status.topics if topic.name == name)

    def wait_until_received(self):
        """Wait until the recorder has got everything that was sent."""
        wanted = {name: len(messages) for name, messages in self.sent.items()}

        def is_there():
            found = {topic.name: topic.messages for topic in self.recorder.status.topics}
            return all(found.get(name, 0) >= count for name, count in wanted.items())

        self.wait_until(is_there)

    def close(self):
        for publisher in self.publishers.values():
            self.client.node.destroy_publisher(publisher)


def recorder_process(out: Path, **parameters) -> NodeProcess:
    return NodeProcess(
        "recorder_node", {"robot": "ur5e", "out": str(out), "disk_reserve_gb": 0.0, **parameters}
    )


def bytes_by_topic(bag: Path) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {}
    for topic, data, *_ in read_messages(bag):
        found.setdefault(topic, []).append(data)
    return found
