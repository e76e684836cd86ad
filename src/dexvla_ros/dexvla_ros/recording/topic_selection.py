"""Which topics an episode consists of. No ROS."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dexvla_model.errors import UserError
from dexvla_model.robot import RobotDescription

# What the nodes of this stack say, besides what the robot file names.
STACK_TOPICS = ("observation", "substep", "action_chunk", "instruction", "recorder/sub_step", "teleop/state")

# What is worth having where it is there.
USUAL_TOPICS = ("/tf", "/tf_static", "/diagnostics", "/clock", "sim/objects", "sim/task_status")


@dataclass(frozen=True)
class WantedTopic:
    """A topic by name.

    Attributes:
        required: an episode without it is of no use.
        nominal_hz: the rate that the robot file promises; 0 = none.
    """

    name: str
    required: bool = False
    nominal_hz: float = 0.0


def robot_topics(robot: RobotDescription) -> tuple[WantedTopic, ...]:
    """What the robot file names, and what this stack publishes for it; relative names, as the nodes use them."""
    topics = [WantedTopic("joint_states", True, robot.rates.joint_state_hz)]
    for camera in robot.cameras:
        name = f"{camera.topic}/compressed" if camera.transport == "compressed" else camera.topic
        topics += [WantedTopic(name, True, camera.rate_hz), WantedTopic(camera.info_topic)]
    topics += [WantedTopic(controller.topic) for controller in robot.controllers]
    return tuple(topics) + tuple(WantedTopic(name) for name in STACK_TOPICS)


@dataclass(frozen=True)
class TopicSelection:
    """Decides by absolute name.

    Attributes:
        wanted: by name. pattern: further ones, a regular expression for the whole name; empty = none.
        exclude: likewise, and stronger than everything but what is required.
    """

    wanted: dict[str, WantedTopic]
    pattern: str = ""
    exclude: str = ""
    _compiled: dict[str, re.Pattern | None] = field(default_factory=dict, compare=False, repr=False)

    @staticmethod
    def make(
        robot: RobotDescription,
        topics: Sequence[str],
        pattern: str,
        exclude: str,
        resolve: Callable[[str], str],
        source: str,
    ) -> "TopicSelection":
        """The robot's topics and the given ones.

        Args:
            resolve: from a relative name to an absolute one.
            source: who gave the patterns, for messages.

        Raises:
            UserError: a pattern is no regular expression.
        """
        wanted = {}
        for topic in (*robot_topics(robot), *(WantedTopic(name) for name in topics if name)):
            name = resolve(topic.name)
            wanted.setdefault(name, WantedTopic(name, topic.required, topic.nominal_hz))
        selection = TopicSelection(wanted, pattern, exclude)
        for key, text in (("topic_pattern", pattern), ("exclude_pattern", exclude)):
            try:
                selection._compiled[key] = re.compile(text) if text else None
            except re.error as error:
                raise UserError(
                    f"{source}: {key} is {text!r}, which is no regular expression ({error}); correct it."
                ) from error
        return selection

    def find(self, name: str) -> WantedTopic | None:
        """The topic if it is to be recorded."""
        topic = self.wanted.get(name)
        if topic is not None and topic.required:
            return topic
        exclude, pattern = self._compiled.get("exclude_pattern"), self._compiled.get("topic_pattern")
        if exclude is not None and exclude.fullmatch(name):
            return None
        if topic is None and pattern is not None and pattern.fullmatch(name):
            return WantedTopic(name)
        return topic

    @property
    def required(self) -> tuple[str, ...]:
        return tuple(topic.name for topic in self.wanted.values() if topic.required)
