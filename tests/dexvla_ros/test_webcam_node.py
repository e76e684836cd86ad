"""webcam_node over DDS; a video file stands for a device that ends, as if unplugged, and is opened again."""

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from sensor_msgs.msg import Image

from dexvla_ros.bringup import NodeProcess
from dexvla_ros.messages.images import image_from_message
from dexvla_ros.nodes.qos import DIAGNOSTICS, SENSOR
from dexvla_ros.own_domain import own_domain
from dexvla_ros.supervisor import Supervisor

pytestmark = pytest.mark.ros


def test_pictures_come_in_the_size_of_the_robot_file_and_a_device_that_is_missing_is_named(robot, tmp_path):
    device = tmp_path / "device.avi"
    writer = cv2.VideoWriter(str(device), cv2.VideoWriter_fourcc(*"MJPG"), 30.0, (640, 480))
    for _ in range(5):
        writer.write(np.full((480, 640, 3), (200, 100, 50), np.uint8))  # blue, green, red
    writer.release()
    devices = [f"scene={device}", "wrist=/nowhere/video7"]
    node = NodeProcess("webcam_node", {"robot": "ur5e", "devices": devices, "reconnect_s": 0.1})
    images, statuses = [], []
    with own_domain(), Supervisor((node,), tmp_path / "logs", False) as supervisor:
        client = supervisor.client
        camera = robot.camera("scene")
        client.node.create_subscription(Image, camera.topic, images.append, SENSOR)
        client.node.create_subscription(
            DiagnosticArray, "/diagnostics", lambda message: statuses.extend(message.status), DIAGNOSTICS
        )
        supervisor.bring_up()
        # More than one run through the file.
        client.wait_until(lambda: len(images) > 8, 120.0, "pictures come")
        client.wait_until(
            lambda: any("wrist (/nowhere/video7) cannot be opened" in one.message for one in statuses),
            120.0,
            "the missing device is named",
        )
    assert any(one.level == DiagnosticStatus.ERROR for one in statuses)
    assert images[0].header.frame_id == camera.frame
    picture = image_from_message(images[0])
    assert picture.shape == (240, 320, 3)
    np.testing.assert_allclose(picture[120, 160], (50, 100, 200), atol=8)
