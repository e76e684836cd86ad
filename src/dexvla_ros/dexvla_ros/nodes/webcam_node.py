"""webcam_node: video devices that OpenCV reads, on the camera topics of the robot file."""

import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image

from dexvla_model.errors import UserError
from dexvla_model.robot import Camera
from dexvla_ros.messages.images import image_to_message
from dexvla_ros.messages.stamps import stamp_to_message
from dexvla_ros.nodes.diagnostics import ERROR, OK
from dexvla_ros.nodes.parameters import ParameterSpec
from dexvla_ros.nodes.qos import SENSOR
from dexvla_ros.nodes.stack_node import Outlet, StackNode, run_node

PARAMETERS = (
    ParameterSpec(
        "devices", (), "Which device is which camera, each ROLE=DEVICE, such as scene=/dev/video0."
    ),
    ParameterSpec(
        "reconnect_s", 1.0, "Pause before a device that does not answer is opened again, s.", 0.1, 60.0
    ),
)
_STOP_TIMEOUT_S = 5.0


@dataclass
class _Eye:
    """One camera: where its pictures come from and go to."""

    camera: Camera
    device: str
    publish: Outlet
    problem: str = "has not been opened yet"
    pictures: int = 0


class WebcamNode(StackNode):
    """Reads each device in a thread of its own; one that is unplugged is opened again when it is back."""

    parameters = PARAMETERS

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        super().__init__("webcam_node")

    def configure(self) -> None:
        self._eyes = []
        for text in self.settings.devices:
            role, equals, device = text.partition("=")
            if not (equals and device):
                raise UserError(f"webcam_node: devices has {text!r}, needed is ROLE=DEVICE; correct it.")
            camera = self.robot.camera(role)
            kind = Image if camera.transport == "raw" else CompressedImage
            self._eyes.append(_Eye(camera, device, self.publish_on(kind, camera.topic, SENSOR)))

    def activate(self) -> None:
        self._stopping.clear()
        self._threads = [
            threading.Thread(target=self._look, args=(eye,), name=eye.camera.role, daemon=True)
            for eye in self._eyes
        ]
        for thread in self._threads:
            thread.start()

    def deactivate(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(_STOP_TIMEOUT_S)

    def health(self) -> tuple[bytes, str, Mapping[str, object]]:
        values = {f"{eye.camera.role}_pictures": eye.pictures for eye in self._eyes}
        problems = [f"{eye.camera.role} ({eye.device}) {eye.problem}" for eye in self._eyes if eye.problem]
        return (ERROR, "; ".join(problems), values) if problems else (OK, "publishing", values)

    def _look(self, eye: _Eye) -> None:
        while not self._stopping.is_set():
            capture = cv2.VideoCapture(eye.device)
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, eye.camera.width)
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, eye.camera.height)
            capture.set(cv2.CAP_PROP_FPS, eye.camera.rate_hz)
            opened = capture.isOpened()
            while opened and not self._stopping.is_set():
                taken, picture = capture.read()
                if not taken:
                    break
                self._show(eye, picture)
            capture.release()
            if not self._stopping.is_set():
                self._say(eye, "gives no pictures" if opened else "cannot be opened")
            self._stopping.wait(self.settings.reconnect_s)

    def _show(self, eye: _Eye, picture: np.ndarray) -> None:
        camera, now_s = eye.camera, self.now_s()
        if picture.shape[:2] != (camera.height, camera.width):
            picture = cv2.resize(picture, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
        if camera.transport == "raw":
            message = image_to_message(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), now_s, camera.frame)
        else:
            message = CompressedImage(format="jpeg", data=cv2.imencode(".jpg", picture)[1].tobytes())
            message.header.stamp, message.header.frame_id = stamp_to_message(now_s), camera.frame
        eye.publish(message)
        eye.pictures += 1
        if eye.problem:
            self._say(eye, "")

    def _say(self, eye: _Eye, problem: str) -> None:
        before, eye.problem = eye.problem, problem
        if problem and problem != before:
            self.get_logger().error(f"{eye.camera.role} ({eye.device}) {problem}; it is tried again")
        elif before and not problem:
            self.get_logger().info(f"{eye.camera.role} ({eye.device}) gives pictures")


def main() -> None:
    """Run the node; the entry point of the command `webcam_node`."""
    sys.exit(run_node(WebcamNode))


if __name__ == "__main__":
    main()
