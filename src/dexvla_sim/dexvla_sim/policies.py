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
    shipped = _shipped()
    if name in shipped:
        return find_resource(f"checkpoints/{name}")
    raise UserError(
        f"--policy {name}: there is no such checkpoint folder (allowed: {', '.join([SCRIPTED, *shipped])} or the path "
        "of a folder that `dexvla train` wrote)."
    )


def _shipped() -> list[str]:
    return [name for name in list_resources("checkpoints") if find_resource(f"checkpoints/{name}").is_dir()]


def is_shipped(name: str) -> bool:
    """Whether checkpoints/ has a checkpoint of that name."""
    return name in _shipped()


def check_scripted(robot: RobotDescription, task: str) -> None:
    """Look whether there is a script for a robot's task.

    Raises:
        UserError: there is none, or the robot lacks what it needs.
    """
    from dexvla_sim.scripted_policy import ScriptedPolicy

    ScriptedPolicy(robot).prepare(task)


def default_policy(robot: RobotDescription, task: str) -> str:
    """Name of the checkpoint that ships for a robot's task."""
    return f"{robot.name}_{task}_tiny"


def load_any_policy(
    name: str,
    robot: RobotDescription,
    device: str = "cpu",
    dtype: str = "float32",
    compile_network: bool = False,
) -> Policy:
    """The policy of that name, ready for `robot`; the other arguments are those of `dexvla_model.checkpoint.load_policy`.

    Raises:
        UserError: there is none, or it was made for another robot.
    """
    # Imported here so that a scripted run needs no PyTorch and a process that only acts needs no MuJoCo.
    if name == SCRIPTED:
        from dexvla_sim.scripted_policy import ScriptedPolicy

        return ScriptedPolicy(robot)
    folder = find_checkpoint(name)
    from dexvla_model.checkpoint import load_policy

    return load_policy(folder, robot, device, dtype, compile_network)
