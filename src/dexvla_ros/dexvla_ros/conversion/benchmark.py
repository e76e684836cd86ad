"""What a conversion costs: the bag of three 640x480 cameras at 30 Hz and joint states at 500 Hz, on one core."""

import os
import tempfile
from array import array
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic, process_time

import numpy as np
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image, JointState

from dexvla_model.robot import RobotDescription, load_robot
from dexvla_model.streaming import JointTrajectory
from dexvla_ros.conversion.convert import ConversionJob, convert_bags
from dexvla_ros.messages.stamps import stamp_from_nanoseconds
from dexvla_ros.messages.trajectories import trajectory_to_message
from dexvla_ros.recording.bag_metadata import BagTopic
from dexvla_ros.recording.bag_writer import BagWriter, WriterSettings
from dexvla_ros.recording.benchmark import benchmark_robot_file
from dexvla_ros.recording.benchmark_publishers import camera_frames
from dexvla_ros.recording.episode_metadata import SUCCESS, EpisodeMetadata
from dexvla_ros.recording.message_definitions import message_definition

_START_NS = 1_700_000_000_000_000_000
_COMMAND_HZ = 10.0


@dataclass(frozen=True)
class ConversionFigures:
    """What was measured.

    Attributes:
        recorded_s: length of the bag. wall_s, cpu_s: that its conversion took, in one process.
        times_real_time: recorded_s / cpu_s: how much faster than the recording ran, per core.
        raw_mb, bag_mb, dataset_mb: the messages, the bag and the dataset.
    """

    recorded_s: float
    frames: int
    wall_s: float
    cpu_s: float
    times_real_time: float
    raw_mb: float
    bag_mb: float
    dataset_mb: float

    def to_json(self) -> dict[str, float]:
        """A JSON-able dict, rounded."""
        return {key: round(value, 3) for key, value in asdict(self).items()}


def benchmark_conversion(
    duration_s: float = 20.0,
    cameras: int = 3,
    size: tuple[int, int] = (640, 480),
    camera_hz: float = 30.0,
    joint_state_hz: float = 500.0,
    folder: Path | None = None,
) -> ConversionFigures:
    """Convert a made-up bag at the cameras' rate and size.

    Args:
        size: width and height of the images, in pixels.
        folder: for bag and dataset, which are deleted afterwards; None = a temporary one.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix="bench_conversion_") as temporary:
        place = Path(temporary)
        robot = load_robot(benchmark_robot_file(place, cameras, size, camera_hz, joint_state_hz))
        bag = place / "episode"
        raw_bytes = _write_bag(bag, robot, duration_s)
        job = ConversionJob((bag,), place / "dataset", rate_hz=camera_hz)
        wall_s, cpu_s = monotonic(), process_time()
        (report,) = convert_bags(job, processes=1)
        wall_s, cpu_s = monotonic() - wall_s, process_time() - cpu_s
        return ConversionFigures(
            recorded_s=report.duration_s,
            frames=report.frames,
            wall_s=wall_s,
            cpu_s=cpu_s,
            times_real_time=report.duration_s / cpu_s,
            raw_mb=raw_bytes / 1e6,
            bag_mb=report.bytes / 1e6,
            dataset_mb=_size(job.out) / 1e6,
        )


def _write_bag(bag: Path, robot: RobotDescription, duration_s: float) -> int:
    """Write a bag as the recorder does; the bytes of its messages."""
    about = EpisodeMetadata(
        bag.name, robot.name, robot.text, "benchmark", os.uname().nodename, "benchmark", outcome=SUCCESS
    ).to_custom_data()
    writer = BagWriter(bag, WriterSettings(queue_bytes=2**40, disk_reserve_bytes=0), about, _complain)
    entries = sorted(_entries(robot, duration_s), key=lambda entry: entry[0])
    topics: dict[str, int] = {}
    total = 0
    for number, (stamp_ns, name, kind, make) in enumerate(entries):
        if name not in topics:
            topics[name] = writer.add_topic(BagTopic(name, kind), message_definition(kind))
        data = make(stamp_ns)
        total += len(data)
        writer.put(topics[name], number, stamp_ns, stamp_ns, data)
    writer.drain()
    writer.finish(about)
    return total


def _entries(robot: RobotDescription, duration_s: float):
    """(stamp_ns, topic, type, from a stamp to the message's bytes) of everything that the robot says."""

    def stamps(rate_hz: float) -> range:
        return range(_START_NS, _START_NS + int(duration_s * 1e9), round(1e9 / rate_hz))

    for seed, camera in enumerate(robot.cameras):
        frames = [array("B", frame) for frame in camera_frames(camera.width, camera.height, seed)]
        message = Image(height=camera.height, width=camera.width, encoding="rgb8", step=3 * camera.width)

        def image(stamp_ns: int, message=message, frames=frames, hz=camera.rate_hz) -> bytes:
            message.header.stamp = stamp_from_nanoseconds(stamp_ns)
            message.data = frames[round((stamp_ns - _START_NS) * hz / 1e9) % len(frames)]
            return serialize_message(message)

        for stamp_ns in stamps(camera.rate_hz):
            yield stamp_ns, f"/{camera.topic}", "sensor_msgs/msg/Image", image

    def joints(stamp_ns: int) -> bytes:
        values = array("d", [(stamp_ns - _START_NS) / 1e9] * len(robot.state_joints))
        message = JointState(name=list(robot.state_joints), position=values)
        message.header.stamp = stamp_from_nanoseconds(stamp_ns)
        return serialize_message(message)

    for stamp_ns in stamps(robot.rates.joint_state_hz):
        yield stamp_ns, "/joint_states", "sensor_msgs/msg/JointState", joints
    for controller in robot.controllers:
        rows = np.zeros((64, len(controller.joints)))

        def command(stamp_ns: int, joints=controller.joints, rows=rows) -> bytes:
            trajectory = JointTrajectory(joints, 0.0, np.arange(64) / 32, rows, rows, rows)
            message = trajectory_to_message(trajectory)
            message.header.stamp = stamp_from_nanoseconds(stamp_ns)
            return serialize_message(message)

        for stamp_ns in stamps(_COMMAND_HZ):
            yield stamp_ns, f"/{controller.topic}", "trajectory_msgs/msg/JointTrajectory", command


def _complain(reason: str) -> None:
    raise RuntimeError(reason)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
