"""Bags as a recorder leaves them, made message by message: real CDR bytes in a real rosbag2 directory."""

from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import yaml
from rclpy.serialization import serialize_message
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from sensor_msgs.msg import JointState

from dexvla_model.streaming import JointTrajectory
from dexvla_msgs.msg import SubStepMark
from dexvla_ros.messages.images import image_to_message
from dexvla_ros.messages.stamps import stamp_from_nanoseconds
from dexvla_ros.messages.trajectories import trajectory_to_message
from dexvla_ros.recording.episode_metadata import EpisodeMetadata

_MARK = "std_msgs/Header header\nstring text\n"


@dataclass
class BagScript:
    """Messages with topic, type and time of receipt; `write` makes a bag of them."""

    robot: object
    entries: list[tuple[str, str, int, object]] = field(default_factory=list)

    def add(self, topic: str, kind: str, received_ns: int, message: object) -> None:
        self.entries.append((topic, kind, received_ns, message))

    def image(self, role: str, stamp_ns: int, image: np.ndarray, late_ns: int = 20_000_000) -> None:
        camera = self.robot.camera(role)
        message = image_to_message(image, 0.0, camera.frame)
        message.header.stamp = stamp_from_nanoseconds(stamp_ns)
        self.add(f"/{camera.topic}", "sensor_msgs/msg/Image", stamp_ns + late_ns, message)

    def joints(self, stamp_ns: int, names: Iterable[str], positions: Iterable[float]) -> None:
        message = JointState(name=list(names), position=array("d", positions))
        message.header.stamp = stamp_from_nanoseconds(stamp_ns)
        self.add("/joint_states", "sensor_msgs/msg/JointState", stamp_ns + 500_000, message)

    def command(self, controller: str, stamp_ns: int, times_s, positions, joints=None) -> None:
        names = tuple(joints or self.robot.controller(controller).joints)
        message = trajectory_to_message(JointTrajectory(names, 0.0, times_s, positions))
        message.header.stamp = stamp_from_nanoseconds(stamp_ns)
        kind = "trajectory_msgs/msg/JointTrajectory"
        self.add(f"/{controller}/joint_trajectory", kind, stamp_ns + 1_000_000, message)

    def mark(self, stamp_ns: int, text: str) -> None:
        message = SubStepMark(text=text)
        message.header.stamp = stamp_from_nanoseconds(stamp_ns)
        self.add("/recorder/sub_step", "dexvla_msgs/msg/SubStepMark", stamp_ns, message)

    def write(self, path: Path, **metadata) -> Path:
        """Write the bag; `metadata` changes what the episode says of itself, `metadata=None` leaves it out."""
        store = get_typestore(Stores.ROS2_JAZZY)
        store.register(get_types_from_msg(_MARK, "dexvla_msgs/msg/SubStepMark"))
        about = {
            "episode": path.name,
            "robot": self.robot.name,
            "robot_file": self.robot.text,
            "version": "test",
            "host": "here",
            "instruction": "put the red cube in the tray",
            "operator": "Ada",
            "outcome": "success",
        }
        with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            for key, value in (metadata.pop("plain", None) or {}).items():
                writer.set_custom_data(key, value)
            if "metadata" not in metadata:
                custom = EpisodeMetadata(**(about | metadata)).to_custom_data()
                for key, value in custom.items():
                    writer.set_custom_data(key, value)
            connections = {}
            for topic, kind, received_ns, message in sorted(self.entries, key=lambda entry: entry[2]):
                if topic not in connections:
                    connections[topic] = writer.add_connection(topic, kind, typestore=store)
                writer.write(connections[topic], received_ns, serialize_message(message))
        assert yaml.safe_load((path / "metadata.yaml").read_text())
        return path


@pytest.fixture
def picture(robot) -> Callable[[str, int], np.ndarray]:
    """A smooth picture that tells frame and camera, at the camera's size."""

    def make(role: str, number: int) -> np.ndarray:
        camera = robot.camera(role)
        rows = np.linspace(0, 200, camera.height)[:, None, None]
        columns = np.linspace(0, 50, camera.width)[None, :, None]
        tint = np.array([number % 50, 2 * (number % 20), 3 if role == "scene" else 33])
        return (rows + columns + tint).clip(0, 255).astype(np.uint8)

    return make


@pytest.fixture
def make_script(robot, picture, request, state_at, command_at):
    """An episode of `frames` observations at 10 Hz from the test module's START_NS on, joint states at 100 Hz
    in a shuffled order, slow commands.
    """
    start_ns = request.module.START_NS

    def make(frames: int = 20, missing: Iterable[int] = ()) -> BagScript:
        script = BagScript(robot)
        draw = np.random.default_rng(0)
        names = list(robot.state_joints)
        for tick in range(10 * frames + 5):
            stamp_ns = start_ns + tick * 10_000_000 - 20_000_000
            order = draw.permutation(len(names))
            values = state_at(stamp_ns)
            script.joints(stamp_ns, [names[i] for i in order], values[order])
        for number in range(frames):
            stamp_ns = start_ns + number * 100_000_000
            if number not in missing:
                for camera in robot.cameras:
                    script.image(camera.role, stamp_ns, picture(camera.role, number))
        for controller in robot.controllers:
            for number in range(0, frames, 2):
                stamp_ns = start_ns + number * 100_000_000 - 50_000_000
                joints = draw.permutation(list(controller.joints)).tolist()
                columns = np.array([robot.action_joints.index(joint) for joint in joints])
                rows = [command_at(stamp_ns + dt)[columns] for dt in (0, 1_000_000_000)]
                script.command(controller.name, stamp_ns, np.array([0.0, 1.0]), np.array(rows), joints)
        return script

    return make


@pytest.fixture
def state_at(robot, request) -> Callable[[int], np.ndarray]:
    """(S,) measured positions at a stamp: lines in time, another slope for each joint."""
    slopes = 0.01 * (1 + np.arange(len(robot.state_joints)))
    return lambda stamp_ns: slopes * (stamp_ns - request.module.START_NS) / 1e9


@pytest.fixture
def command_at(robot, request) -> Callable[[int], np.ndarray]:
    """(A,) commanded positions: likewise, 0.3 s ahead of the measured ones."""
    slopes = 0.01 * (1 + np.arange(len(robot.action_joints)))
    return lambda stamp_ns: slopes * (stamp_ns - request.module.START_NS + 300_000_000) / 1e9
