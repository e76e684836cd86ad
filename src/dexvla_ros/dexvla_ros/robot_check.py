"""The check of a robot with what only this package knows: its drivers."""

from collections.abc import Iterator
from pathlib import Path

from dexvla_model.errors import UserError
from dexvla_model.robot import RobotDescription
from dexvla_model.robot.check import ERROR, WARNING, Finding, check_robot, from_error
from dexvla_ros.drivers.for_robot import undriven_systems
from dexvla_ros.vendor_bringup import VendorBringup, gripper_processes, vendor_of


def check_robot_and_drivers(name_or_path: str | Path, checkpoint: Path | None = None) -> list[Finding]:
    """All findings, errors first. See `dexvla_model.robot.check.check_robot`.

    Raises:
        UserError: there is no such robot or file, or it is no YAML mapping.
    """
    robot, findings = check_robot(name_or_path, checkpoint)
    if robot is None:
        return findings
    try:
        vendor = vendor_of(robot)
        own = vendor.own_systems if vendor is not None else ()
        undriven = [system for system in undriven_systems(robot) if system not in own]
    except UserError as error:
        # The URDF that cannot be expanded for the real robot is among the findings already.
        known = from_error(error, robot.path)
        return findings if known in findings else [known, *findings]
    for system in undriven:
        text = "speaks through topics to which no file in config/drivers fits: a node of yours has to."
        findings.append(Finding(WARNING, str(robot.urdf_path), f"ros2_control {system}", text))
    if vendor is not None and gripper_processes(vendor, robot):
        findings += _bridge_findings(vendor, robot)
    return sorted(findings, key=lambda finding: finding.severity != ERROR)


def _bridge_findings(vendor: VendorBringup, robot: RobotDescription) -> Iterator[Finding]:
    """A gripper that the vendor's launch file brings takes actions: a node of ours listens in its controller's place."""
    controllers = {controller.name: controller for controller in robot.controllers}
    for name in vendor.bridged:
        joints = controllers[name].joints if name in controllers else ()
        if len(joints) != 1:
            found = f"has {len(joints)} joints in {name}" if joints else f"names no {name}"
            text = f"{found}, where gripper_action_node listens for {vendor.own_systems[0]}, which has one."
            yield Finding(ERROR, str(robot.path), "controllers", text)
