"""Does a checkpoint fit a robot? Comparing the layouts of two robot files."""

from collections.abc import Iterator

from dexvla_model.errors import UserError
from dexvla_model.robot.description import RobotDescription


def layout_differences(
    checkpoint_robot: RobotDescription, robot: RobotDescription
) -> Iterator[tuple[str, object, object]]:
    """What a checkpoint's robot and another one do not share of state, action, rate and cameras.

    Yields:
        (key of the robot file, the robot's value, the checkpoint's value).
    """
    for key in ("state", "action"):
        ours, theirs = getattr(robot, key), getattr(checkpoint_robot, key)
        for index, (found, expected) in enumerate(zip(ours, theirs)):
            for attribute in ("joint", "unit", "relative"):
                pair = getattr(found, attribute), getattr(expected, attribute)
                if pair[0] != pair[1]:
                    yield f"{key}[{index}].{attribute}", repr(pair[0]), repr(pair[1])
        if len(ours) != len(theirs):
            yield f"the length of {key}", len(ours), len(theirs)
    if robot.rates.action_hz != checkpoint_robot.rates.action_hz:
        yield "rates.action_hz", robot.rates.action_hz, checkpoint_robot.rates.action_hz
    roles = [camera.role for camera in robot.cameras]
    trained_roles = [camera.role for camera in checkpoint_robot.cameras]
    if roles != trained_roles:
        yield "the list of camera roles", roles, trained_roles
        return
    for index, (camera, trained) in enumerate(zip(robot.cameras, checkpoint_robot.cameras)):
        size = [camera.model_width, camera.model_height]
        trained_size = [trained.model_width, trained.model_height]
        if size != trained_size:
            yield f"cameras[{index}].model_size", size, trained_size


def check_same_layout(made_with: RobotDescription, robot: RobotDescription, what: str) -> None:
    """Refuse a robot whose state, actions or cameras differ from those that a checkpoint or data were made with.

    Args:
        made_with: the robot file in there.
        what: names it in messages, such as `the checkpoint NAME`.

    Raises:
        UserError: names the first entry that differs, in both files.
    """
    for key, found, expected in layout_differences(made_with, robot):
        raise UserError(
            f"{robot.path}: {key} is {found}, but {what} was made with {expected}; name the "
            "robot file that it was made with, or make it anew with this one."
        )
