"""Which topics of a bag an episode is made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dexvla_model.errors import UserError
from dexvla_model.robot import Camera, Controller, RobotDescription

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
JOINT_STATE, TRAJECTORY = "sensor_msgs/msg/JointState", "trajectory_msgs/msg/JointTrajectory"
MARK, SUB_STEP = "dexvla_msgs/msg/SubStepMark", "dexvla_msgs/msg/SubStep"


@dataclass(frozen=True)
class EpisodeTopics:
    """Absolute topics by what they are for.

    Attributes:
        marks, sub_steps: where people and the policy say the sub-step; empty where the bag has no such messages.
    """

    cameras: Mapping[str, Camera]
    joint_states: str
    commands: Mapping[str, Controller]
    marks: str
    sub_steps: str

    @staticmethod
    def find(robot: RobotDescription, types: Mapping[str, str], namespace: str, bag: Path) -> "EpisodeTopics":
        """The topics of a robot in a bag.

        Args:
            types: message type of every topic that the bag has messages of.
            namespace: in which the robot's topics stand; empty for none.

        Raises:
            UserError: a topic is missing or of another type than the robot file says.
        """
        prefix = f"/{namespace.strip('/')}/" if namespace.strip("/") else "/"

        def needed(name: str, expected: str) -> str:
            topic = name if name.startswith("/") else prefix + name
            found = types.get(topic)
            if found is None:
                listed = ", ".join(sorted(types)) or "none"
                raise UserError(
                    f"{bag}: there is no message on the topic {topic}, which {robot.path} names (topics with messages: "
                    f"{listed}); record it, or give the robot file or --namespace that fits the bag."
                )
            if found != expected:
                raise UserError(
                    f"{bag}: the topic {topic} has messages of the type {found} (needed: {expected}); correct topic "
                    f"or transport in {robot.path}."
                )
            return topic

        def optional(name: str, expected: str) -> str:
            return prefix + name if types.get(prefix + name) == expected else ""

        cameras = {}
        for camera in robot.cameras:
            if camera.transport == "compressed":
                cameras[needed(f"{camera.topic}/compressed", COMPRESSED)] = camera
            else:
                cameras[needed(camera.topic, IMAGE)] = camera
        return EpisodeTopics(
            cameras=cameras,
            joint_states=needed("joint_states", JOINT_STATE),
            commands={needed(controller.topic, TRAJECTORY): controller for controller in robot.controllers},
            marks=optional("recorder/sub_step", MARK),
            sub_steps=optional("substep", SUB_STEP),
        )

    def all(self) -> tuple[str, ...]:
        names = (*self.cameras, self.joint_states, *self.commands, self.marks, self.sub_steps)
        return tuple(name for name in names if name)
