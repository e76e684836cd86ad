"""The check of a robot with what only this package knows: its drivers."""

from pathlib import Path

from dexvla_model.errors import UserError
from dexvla_model.robot.check import WARNING, Finding, check_robot, from_error
from dexvla_ros.drivers.for_robot import undriven_systems


def check_robot_and_drivers(name_or_path: str | Path, checkpoint: Path | None = None) -> list[Finding]:
    """All findings, errors first. See `dexvla_model.robot.check.check_robot`.

    Raises:
        UserError: there is no such robot or file, or it is no YAML mapping.
    """
    robot, findings = check_robot(name_or_path, checkpoint)
    if robot is None:
        return findings
    try:
        undriven = undriven_systems(robot)
    except UserError as error:
        # The URDF that cannot be expanded for the real robot is among the findings already.
        known = from_error(error, robot.path)
        return findings if known in findings else [known, *findings]
    for system in undriven:
        text = "speaks through topics to which no file in config/drivers fits: a node of yours has to."
        findings.append(Finding(WARNING, str(robot.urdf_path), f"ros2_control {system}", text))
    return findings
