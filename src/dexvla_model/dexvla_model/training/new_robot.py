"""What training needs to know of a robot, for a new model or on top of a trained one."""

from dataclasses import replace

from dexvla_model.checkpoint import Checkpoint
from dexvla_model.data.measure import measure_statistics
from dexvla_model.data.source import FrameSource
from dexvla_model.dexvla import Embodiment
from dexvla_model.expert import EmbodimentConfig
from dexvla_model.robot import RobotDescription
from dexvla_model.robot.layout import check_same_layout
from dexvla_model.vlm.images import ImageSize


def embodiment_of(robot: RobotDescription, horizon: int) -> Embodiment:
    """The robot as a model sees it, with chunks of `horizon` rows."""
    cameras = {camera.role: ImageSize(camera.model_width, camera.model_height) for camera in robot.cameras}
    return Embodiment(EmbodimentConfig(len(robot.state), len(robot.action), horizon), cameras)


def with_robot(
    checkpoint: Checkpoint, robot: RobotDescription, frames: FrameSource, name: str
) -> tuple[Checkpoint, list[str]]:
    """The checkpoint with what it lacks of the robot: a new head on the old weights, statistics, the file.

    Args:
        frames: of the robot, from which its statistics are measured where there are none.
        name: of the checkpoint, in errors.

    Returns:
        the checkpoint, and what was added to it, for people.

    Raises:
        UserError: the checkpoint knows the robot with another layout of states, actions or cameras.
    """
    embodiment, added = robot.embodiment, []
    if embodiment in checkpoint.robots:
        check_same_layout(checkpoint.robots[embodiment], robot, f"the checkpoint {name}")
    if embodiment not in checkpoint.model.config.embodiments:
        checkpoint.model.add_embodiment(embodiment, embodiment_of(robot, frames.horizon))
        added.append("a new head")
    statistics = dict(checkpoint.statistics)
    if embodiment not in statistics:
        statistics[embodiment] = measure_statistics(frames, robot)
        added.append("its statistics")
    robots = {**checkpoint.robots, embodiment: robot}
    return replace(checkpoint, statistics=statistics, robots=robots), added
