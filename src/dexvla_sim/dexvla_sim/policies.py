"""From a policy's name to the policy: `scripted`, or the folder of a checkpoint."""

from pathlib import Path

from dexvla_model.errors import UserError
from dexvla_model.policy import Policy
from dexvla_model.resources import find_resource, list_resources
from dexvla_model.robot import RobotDescription

SCRIPTED = "scripted"


def find_checkpoint(name: str) -> Path:
    """The folder of a checkpoint: a path, or the name of one below checkpoints/.

    Raises:
        UserError: there is none.
    """
    if Path(name).is_dir():
        return Path(name)
    shipped = [name for name in list_resources("checkpoints") if find_resource(f"checkpoints/{name}").is_dir()]
    if name in shipped:
        return find_resource(f"checkpoints/{name}")
    raise UserError(
        f"--policy {name}: there is no such checkpoint folder (allowed: {', '.join([SCRIPTED, *shipped])} or the path "
        "of a folder that `dexvla train` wrote)."
    )


def default_policy(robot: RobotDescription, task: str) -> str:
    """Name of the checkpoint that ships for a robot's task."""
    return f"{robot.name}_{task}_tiny"


def load_any_policy(name: str, robot: RobotDescription, device: str = "cpu") -> Policy:
    """The policy of that name, ready for `robot`.

    Raises:
        UserError: there is none, or it was made for another robot.
    """
    # Imported here so that a scripted run needs no PyTorch and a process that only acts needs no MuJoCo.
    if name == SCRIPTED:
        from dexvla_sim.scripted_policy import ScriptedPolicy

        return ScriptedPolicy(robot)
    folder = find_checkpoint(name)
    from dexvla_model.checkpoint import load_policy

    return load_policy(folder, robot, device=device)
