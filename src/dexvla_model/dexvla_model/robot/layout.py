"""Does a checkpoint fit a robot? Comparing the layouts of two robot files."""

from dexvla_model.errors import UserError
from dexvla_model.robot.description import RobotDescription


def check_same_layout(checkpoint_robot: RobotDescription, robot: RobotDescription, checkpoint_name: str) -> None:
    """Refuse a robot whose state, actions or cameras differ from those that the checkpoint was trained with.

    Raises:
        UserError: names the first entry that differs, in both files.
    """

    def refuse(key: str, found: object, expected: object) -> UserError:
        return UserError(
            f"{robot.path}: {key} is {found}, but the checkpoint {checkpoint_name} was trained with {expected}; "
            "use a checkpoint made for this robot, or train one with this robot file."
        )

    for key in ("state", "action"):
        ours, theirs = getattr(robot, key), getattr(checkpoint_robot, key)
        for index, (found, expected) in enumerate(zip(ours, theirs)):
            for attribute in ("joint", "unit", "relative"):
                if getattr(found, attribute) != getattr(expected, attribute):
                    raise refuse(
                        f"{key}[{index}].{attribute}", repr(getattr(found, attribute)), repr(getattr(expected, attribute))
                    )
        if len(ours) != len(theirs):
            raise refuse(f"the length of {key}", len(ours), len(theirs))
    if robot.rates.action_hz != checkpoint_robot.rates.action_hz:
        raise refuse("rates.action_hz", robot.rates.action_hz, checkpoint_robot.rates.action_hz)
    roles = [camera.role for camera in robot.cameras]
    trained_roles = [camera.role for camera in checkpoint_robot.cameras]
    if roles != trained_roles:
        raise refuse("the list of camera roles", roles, trained_roles)
    for index, (camera, trained) in enumerate(zip(robot.cameras, checkpoint_robot.cameras)):
        size = [camera.model_width, camera.model_height]
        trained_size = [trained.model_width, trained.model_height]
        if size != trained_size:
            raise refuse(f"cameras[{index}].model_size", size, trained_size)
