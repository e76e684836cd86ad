"""camera_node: images and joint_states -> observation."""

import sys
from functools import partial

from sensor_msgs.msg import CompressedImage, Image, JointState

from dexvla_model.observation import InvalidObservation
from dexvla_model.robot import Camera
from dexvla_msgs.msg import Observation as ObservationMessage
from dexvla_ros.messages.images import compressed_from_message, image_from_message
from dexvla_ros.messages.joint_states import state_from_message
from dexvla_ros.messages.observations import observation_to_message
from dexvla_ros.messages.stamps import stamp_in_nanoseconds
from dexvla_ros.nodes.diagnostics import ERROR, OK
from dexvla_ros.nodes.parameters import ParameterSpec
from dexvla_ros.nodes.qos import SENSOR
from dexvla_ros.nodes.stack_node import StackNode, run_node
from dexvla_ros.observation_assembler import Capture, ObservationAssembler

PARAMETERS = (
    ParameterSpec(
        "slop_s",
        0.04,
        "Greatest difference in time between images and joint state of one observation, s.",
        0.0,
        1.0,
    ),
    ParameterSpec(
        "stale_s",
        0.5,
        "Age from which a camera's newest image, or the newest joint state, is stale, s.",
        0.05,
        60.0,
    ),
)


class CameraNode(StackNode):
    """Matches images and joint states in time, resizes the images and publishes observations."""

    parameters = PARAMETERS

    def __init__(self) -> None:
        super().__init__("camera_node")

    def configure(self) -> None:
        self._assembler = ObservationAssembler(self.robot, self.settings.slop_s, self.settings.stale_s)
        self._published = 0
        self._rejected = ""
        self._publish = self.publish_on(ObservationMessage, "observation", SENSOR)
        for camera in self.robot.cameras:
            if camera.transport == "compressed":
                topic = f"{camera.topic}/compressed"
                self.listen(CompressedImage, topic, partial(self._on_compressed, camera), SENSOR)
            else:
                self.listen(Image, camera.topic, partial(self._on_image, camera), SENSOR)
        self.listen(JointState, "joint_states", self._on_joint_state, SENSOR)

    def activate(self) -> None:
        self._assembler.clear()

    def health(self) -> tuple[bytes, str, dict[str, object]]:
        problems = self._assembler.problems(self.now_s())
        if self._rejected:
            problems.append(self._rejected)
            self._rejected = ""
        values = {"observations": self._published}
        if problems:
            return ERROR, f"no observations: {'; '.join(problems)}", values
        return OK, "publishing observations", values

    def _on_image(self, camera: Camera, message: Image) -> None:
        self._take(camera, message, image_from_message)

    def _on_compressed(self, camera: Camera, message: CompressedImage) -> None:
        self._take(camera, message, compressed_from_message)

    def _take(self, camera: Camera, message, decode) -> None:
        header = message.header
        capture = Capture(stamp_in_nanoseconds(header.stamp), header.frame_id, partial(decode, message))
        self._assembler.add_capture(camera.role, capture)
        self._publish_what_is_due()

    def _on_joint_state(self, message: JointState) -> None:
        try:
            self._assembler.add_state(state_from_message(self.robot, message), message)
        except InvalidObservation as error:
            self._reject(error)
        self._publish_what_is_due()

    def _publish_what_is_due(self) -> None:
        try:
            matched = self._assembler.take()
        except InvalidObservation as error:
            self._reject(error)
            return
        if matched is None:
            return
        captures = [matched.captures[role] for role in matched.observation.images]
        self._publish(
            observation_to_message(
                matched.observation,
                matched.stamp_ns,
                matched.source,
                [capture.frame for capture in captures],
                [capture.stamp_ns for capture in captures],
            )
        )
        self._published += 1

    def _reject(self, error: InvalidObservation) -> None:
        self._rejected = str(error)
        self.report_once(str(error))


def main() -> None:
    """Run the node; the entry point of the command `camera_node`."""
    sys.exit(run_node(CameraNode))


if __name__ == "__main__":
    main()
