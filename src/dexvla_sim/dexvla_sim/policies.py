"""From a policy's name to the policy: `scripted`, the folder of a checkpoint, or `lerobot:` and the folder of a
policy of LeRobot."""

from pathlib import Path

from dexvla_model.errors import UserError
from dexvla_model.policy import Policy
from dexvla_model.resources import checkpoint_folder, find_resource, list_checkpoints
from dexvla_model.robot import RobotDescription
from dexvla_model.yaml_reader import parse_yaml

SCRIPTED = "scripted"
DEFAULTS = "checkpoints/defaults.yaml"
LEROBOT = "lerobot:"


def find_checkpoint(name: str) -> Path:
    """The folder of a checkpoint: a path, or the name of one below checkpoints/; or of a policy of LeRobot.

    Raises:
        UserError: there is none.
    """
    if name.startswith(LEROBOT):
        folder = Path(name.removeprefix(LEROBOT))
        if not folder.is_dir():
            raise UserError(f"--policy {name}: there is no folder {folder}; name that of a policy of LeRobot.")
        return folder
    folder = checkpoint_folder(name)
    if folder.is_dir():
        return folder
    allowed = ", ".join([SCRIPTED, *list_checkpoints()])
    raise UserError(
        f"--policy {name}: there is no such checkpoint folder (allowed: {allowed}, the path "
        f"of a folder that `dexvla train` wrote, or {LEROBOT}FOLDER)."
    )


def absolute_name(name: str) -> str:
    """The name of the same policy from any working directory. Raises UserError where there is none."""
    if name == SCRIPTED:
        return name
    prefix = LEROBOT if name.startswith(LEROBOT) else ""
    return f"{prefix}{find_checkpoint(name).resolve()}"


def is_shipped(name: str) -> bool:
    """Whether checkpoints/ has a checkpoint of that name."""
    return name in list_checkpoints()


def check_scripted(robot: RobotDescription, task: str) -> None:
    """Look whether there is a script for a robot's task.

    Raises:
        UserError: there is none, or the robot lacks what it needs.
    """
    from dexvla_sim.scripted_policy import ScriptedPolicy

    ScriptedPolicy(robot).prepare(task)


def default_policy(robot: RobotDescription, task: str) -> str:
    """Name of the checkpoint that ships for a robot's task; of none, where `is_shipped` is false.

    Raises:
        UserError: checkpoints/defaults.yaml has an error.
    """
    path = find_resource(DEFAULTS)
    tasks = parse_yaml(path.read_text(encoding="utf-8"), path).mapping(robot.name, optional=True)
    return tasks.text(task, default=f"{robot.name}_{task}")


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
    if name.startswith(LEROBOT):
        from dexvla_model.baselines.lerobot import load_lerobot_policy

        return load_lerobot_policy(folder, robot, device, dtype)
    from dexvla_model.checkpoint import load_policy

    return load_policy(folder, robot, device, dtype, compile_network)
