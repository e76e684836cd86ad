"""What a robot with three cameras publishes, from a process of its own: for the benchmark of the recorder.

Run as a module with a robot file and a duration in s; prints one JSON line with the messages by topic.
"""

import json
import sys
from array import array
from time import monotonic

import numpy as np
import rclpy
from rclpy.experimental import EventsExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState

from dexvla_model.robot import Camera, load_robot
from dexvla_ros.lifeline import shut_down_with_parent
from dexvla_ros.nodes.qos import SENSOR

# What a camera's sensor adds to every value, of 255: noise is what makes images hard to compress.
_NOISE = 2.0
_FRAMES = 8
_SETTLE_S = 2.0


def camera_frames(width: int, height: int, seed: int) -> list[bytes]:
    """Frames of a moving scene as a camera would see it: shaded surfaces with edges, and noise."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    scene = np.stack([30 + 200 * x / width, 40 + 180 * y / height, 50 + 120 * (x + y) / (width + height)], -1)
    for _ in range(40):
        left, top = random.integers(0, width), random.integers(0, height)
        w, h = random.integers(20, 200, 2)
        scene[top : top + h, left : left + w] = random.integers(0, 255, 3)
    frames = []
    for number in range(_FRAMES):
        moved = np.roll(scene, 4 * number, axis=1)
        noisy = np.clip(moved + random.normal(0.0, _NOISE, moved.shape), 0, 255)
        frames.append(noisy.astype(np.uint8).tobytes())
    return frames


class RobotPublishers(Node):
    """Publishes what a robot file names at the rates that it names, and counts."""

    def __init__(self, robot_file: str) -> None:
        super().__init__("benchmark_publishers")
        robot = load_robot(robot_file)
        self.counts: dict[str, int] = {}
        for seed, camera in enumerate(robot.cameras):
            self._publish_images(camera, seed)
        self._publish_joints(list(robot.state_joints), robot.rates.joint_state_hz)

    def _publish_images(self, camera: Camera, seed: int) -> None:
        frames = [array("B", frame) for frame in camera_frames(camera.width, camera.height, seed)]
        message = Image(
            height=camera.height, width=camera.width, encoding="rgb8", step=3 * camera.width, is_bigendian=0
        )
        message.header.frame_id = camera.frame

        def prepare(number: int) -> None:
            message.data = frames[number % len(frames)]

        self._publish(Image, camera.topic, camera.rate_hz, message, prepare)

    def _publish_joints(self, names: list[str], rate_hz: float) -> None:
        message = JointState(name=names, velocity=[0.0] * len(names), effort=[0.0] * len(names))

        def prepare(number: int) -> None:
            message.position = array("d", [number / rate_hz] * len(names))

        self._publish(JointState, "joint_states", rate_hz, message, prepare)

    def _publish(self, kind: type, topic: str, rate_hz: float, message, prepare) -> None:
        publisher = self.create_publisher(kind, topic, SENSOR)
        name = self.resolve_topic_name(topic)
        self.counts[name] = 0

        start_s = monotonic()

        def publish() -> None:
            # A timer that is late skips its turn; a robot does not.
            while self.counts[name] < (monotonic() - start_s) * rate_hz:
                prepare(self.counts[name])
                message.header.stamp = self.get_clock().now().to_msg()
                publisher.publish(message)
                self.counts[name] += 1

        self.create_timer(1.0 / rate_hz, publish)


def main() -> None:
    """Publish for as long as was asked, or until the parent ends."""
    shut_down_with_parent()
    robot_file, duration_s = sys.argv[1], float(sys.argv[2])
    rclpy.init()
    node = RobotPublishers(robot_file)
    executor = EventsExecutor()
    executor.add_node(node)
    executor.spin_until_future_complete(rclpy.Future(), duration_s)
    print(json.dumps(node.counts), flush=True)
    # Reliable or not: what was sent last needs a moment to be fetched from shared memory.
    executor.remove_node(node)
    executor.spin_until_future_complete(rclpy.Future(), _SETTLE_S)
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
