"""dexvla_msgs/Observation to the policy's Observation, and back."""

from collections.abc import Sequence

from sensor_msgs.msg import JointState

from dexvla_model.observation import InvalidObservation, Observation
from dexvla_model.robot import RobotDescription
from dexvla_msgs.msg import Observation as ObservationMessage
from dexvla_ros.messages.images import image_from_message, image_to_message
from dexvla_ros.messages.joint_states import state_from_message
from dexvla_ros.messages.stamps import stamp_from_message, stamp_from_nanoseconds


def observation_to_message(
    observation: Observation,
    stamp_ns: int,
    joint_state: JointState,
    frames: Sequence[str],
    image_stamps_ns: Sequence[int],
) -> ObservationMessage:
    """The message of an observation.

    Args:
        stamp_ns: `observation.stamp_s` to the nanosecond.
        joint_state: the measurement behind `observation.state`, sent on as it came.
        frames, image_stamps_ns: optical frame and capture time of each of `observation.images`, in its order.
    """
    message = ObservationMessage(camera_roles=list(observation.images), joint_state=joint_state)
    message.header.stamp = stamp_from_nanoseconds(stamp_ns)
    for image, frame, image_ns in zip(observation.images.values(), frames, image_stamps_ns, strict=True):
        view = image_to_message(image, 0.0, frame)
        view.header.stamp = stamp_from_nanoseconds(image_ns)
        message.images.append(view)
    return message


def observation_from_message(robot: RobotDescription, message: ObservationMessage) -> Observation:
    """The observation, without ground truth.

    Raises:
        InvalidObservation: a camera or joint of the robot file is missing, a size is not the one that the
            model sees, or the message contradicts itself.
    """
    if len(message.camera_roles) != len(message.images):
        raise InvalidObservation(
            f"{len(message.camera_roles)} camera roles came with {len(message.images)} images"
        )
    images = dict(zip(message.camera_roles, map(image_from_message, message.images)))
    for camera in robot.cameras:
        if camera.role not in images:
            raise InvalidObservation(f"there is no image of the camera {camera.role}")
        if images[camera.role].shape[:2] != (camera.model_height, camera.model_width):
            height, width = images[camera.role].shape[:2]
            raise InvalidObservation(
                f"the image of the camera {camera.role} has {width} x {height} pixels, "
                f"the robot file says {camera.model_width} x {camera.model_height}"
            )
    return Observation(
        stamp_s=stamp_from_message(message.header.stamp),
        images={camera.role: images[camera.role] for camera in robot.cameras},
        state=state_from_message(robot, message.joint_state),
    )
