"""Everything that can be said of a robot before it runs: file, URDF, controllers, MoveIt, checkpoint."""

from collections.abc import Sequence
from pathlib import Path

from dexvla_model.errors import UserError
from dexvla_model.resources import find_resource, list_resources
from dexvla_model.robot.check.controllers_file import check_controllers_file
from dexvla_model.robot.check.finding import ERROR, WARNING, Finding, from_error
from dexvla_model.robot.check.head import check_head, shipped_checkpoints
from dexvla_model.robot.check.moveit_files import check_moveit
from dexvla_model.robot.check.robot_file import (
    action_joints_of,
    check_robot_file,
    controller_rate_of,
    controllers_of,
    home_of,
)
from dexvla_model.robot.check.urdf_facts import UrdfFacts
from dexvla_model.robot.check.urdf_file import check_ros2_control, check_urdf
from dexvla_model.robot.description import RobotDescription, find_urdf, parse_robot, robot_file_path
from dexvla_model.robot.moveit import moveit_folder
from dexvla_model.yaml_reader import MappingReader, parse_yaml

__all__ = ["ERROR", "WARNING", "Finding", "check_robot", "from_error"]


def check_robot(
    name_or_path: str | Path, checkpoint: Path | None = None
) -> tuple[RobotDescription | None, list[Finding]]:
    """Compare a robot's files; all that does not fit, errors first.

    Args:
        name_or_path: as for `load_robot`.
        checkpoint: folder of a checkpoint; None = those that ship for the robot.

    Returns:
        The robot, None when its file does not load, and the findings.

    Raises:
        UserError: there is no such robot or file, or it is no YAML mapping.
    """
    path = robot_file_path(name_or_path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: the robot file cannot be read ({error}); correct the path.") from error
    content = parse_yaml(text, path).all()
    findings: list[Finding] = []
    urdf = _urdf(content, path, findings)
    if urdf is not None:
        findings += check_robot_file(content, path, urdf)
        findings += check_urdf(urdf)
    try:
        robot = parse_robot(text, path)
    except UserError as error:
        robot, stop = None, from_error(error, path)
        if (stop.file, stop.key) not in {(known.file, known.key) for known in findings}:
            findings.append(stop)
    findings += _controllers(content, path, urdf)
    if robot is not None:
        moveit = moveit_folder(robot.name, path)
        if moveit is not None:
            findings += check_moveit(moveit, robot)
        for folder in shipped_checkpoints(robot) if checkpoint is None else [checkpoint]:
            findings += check_head(robot, folder)
    unique = list(dict.fromkeys(findings))
    return robot, sorted(unique, key=lambda finding: finding.severity != ERROR)


def controller_files(name: str, path: Path) -> list[Path]:
    """The controllers files of a robot: those in ../controllers beside its file, else those that ship.

    NAME_real.yaml, where there is one, is the real robot's.
    """
    names = [f"{name}.yaml", f"{name}_real.yaml"]
    folder = path.resolve().parent.parent / "controllers"
    beside = [folder / file for file in names if (folder / file).is_file()]
    if beside or path.resolve().parent.name == "robots":
        return beside
    shipped = list_resources("config/controllers")
    return [find_resource(f"config/controllers/{file}") for file in names if file in shipped]


def _urdf(content: dict, path: Path, findings: list[Finding], hardware: str = "") -> UrdfFacts | None:
    """The robot file's URDF; what keeps it from being read becomes a finding."""
    try:
        urdf = MappingReader(content, path).mapping("urdf")
        arguments = {key: str(value) for key, value in urdf.mapping("arguments", optional=True).all().items()}
        if hardware:
            arguments["hardware"] = hardware
        return UrdfFacts.read(find_urdf(urdf.text("file"), path), arguments)
    except UserError as error:
        findings.append(from_error(error, path))
        return None


def _controllers(content: dict, path: Path, urdf: UrdfFacts | None) -> Sequence[Finding]:
    findings: list[Finding] = []
    by_hardware = {
        hardware: None if urdf is None else _urdf(content, path, findings, hardware)
        for hardware in ("mock", "real")
    }
    joints, home, rate = action_joints_of(content), home_of(content), controller_rate_of(content)
    for hardware, facts in by_hardware.items():
        if facts is not None:
            findings += check_ros2_control(facts, joints, home, hardware)
    files = controller_files(str(content.get("name", path.stem)), path)
    if not files:
        text = "have no file in config/controllers: the controller manager of a real robot needs one."
        findings.append(Finding(WARNING, str(path), "controllers", text))
    for file in files:
        real = file.stem.endswith("_real") or (len(files) == 1)
        try:
            findings += check_controllers_file(
                file, controllers_of(content), rate, by_hardware["real" if real else "mock"]
            )
        except UserError as error:
            findings.append(from_error(error, file))
    return findings
