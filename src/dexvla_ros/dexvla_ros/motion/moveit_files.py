"""The MoveIt configuration of a robot, made from its robot file and its URDF."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from dexvla_model.errors import UserError
from dexvla_model.robot import Controller, RobotDescription
from dexvla_model.robot.moveit import chain_joints, load_semantics
from dexvla_ros.motion.bodies import robot_urdf_with_table
from dexvla_ros.motion.disabled_pairs import disabled_pairs
from dexvla_ros.motion.goals import HOME

# A pose that a robot without poses of its own begins with; it may be changed by hand.
READY = "ready"
_SPEED = 0.5
_HEADER = "Written by `dexvla robot moveit {name}`; {keep}."
_TOOLS = ("grasp_frame", "tool0")


@dataclass(frozen=True)
class Group:
    """The joints of one controller, from the link `base` on; `tip` ends them where they are a chain."""

    name: str
    controller: Controller
    compliant: bool
    base: str
    tip: str


def moveit_files(robot: RobotDescription, compliant: tuple[str, ...]) -> dict[str, str]:
    """The texts of the folder config/moveit/ROBOT, by file name.

    Poses that the robot's SRDF has besides `home` stay in it.

    Args:
        compliant: names of the controllers whose joints close on things.

    Raises:
        UserError: the SRDF that stands there cannot be read.
    """
    groups = robot_groups(robot, compliant)
    return {
        f"{robot.name}.srdf": _srdf(robot, groups, compliant),
        "kinematics.yaml": _yaml(robot, _kinematics(groups)),
        "joint_limits.yaml": _yaml(robot, _joint_limits(robot)),
        "ompl_planning.yaml": _yaml(robot, _ompl(groups)),
        "moveit_controllers.yaml": _yaml(robot, _controllers(robot)),
    }


def write_moveit_files(folder: Path, texts: Mapping[str, str]) -> None:
    """Write them.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{folder}: the MoveIt configuration cannot be written ({error.strerror}); name another folder "
            "with --out."
        ) from error


def robot_groups(robot: RobotDescription, compliant: tuple[str, ...]) -> list[Group]:
    """A group for each controller: `arm` or `left_arm`, `gripper`, `hand`."""
    root = ElementTree.fromstring(robot_urdf_with_table(robot))
    joints = {joint.get("name"): joint for joint in root.findall("joint")}
    groups = []
    for controller in robot.controllers:
        soft = controller.name in compliant
        first, last = joints[controller.joints[0]], joints[controller.joints[-1]]
        base = first.find("parent").get("link")
        tip = "" if soft else _tip(root, last.find("child").get("link"))
        if tip and chain_joints(root, base, tip) != controller.joints:
            tip = ""
        groups.append(Group(_group_name(controller, soft), controller, soft, base, tip))
    return groups


def _group_name(controller: Controller, compliant: bool) -> str:
    name = controller.name.removesuffix("_controller")
    if compliant:
        return name
    side = next((side for side in ("left_", "right_") if name.startswith(side)), "")
    return f"{side}arm"


def _tip(root: ElementTree.Element, link: str) -> str:
    """The tool frame that is fixed to a link, else the link."""
    fixed = [link]
    found = link
    while fixed:
        here = fixed.pop(0)
        if here.endswith(_TOOLS):
            found = here
        for joint in root.findall("joint"):
            if joint.get("type") == "fixed" and joint.find("parent").get("link") == here:
                fixed.append(joint.find("child").get("link"))
    return found


def _srdf(robot: RobotDescription, groups: list[Group], compliant: tuple[str, ...]) -> str:
    root = ElementTree.Element("robot", name=robot.name)
    for group in groups:
        element = ElementTree.SubElement(root, "group", name=group.name)
        if group.tip:
            # Solvers of inverse kinematics want a chain; the tool's pose is what an arm is planned for.
            ElementTree.SubElement(element, "chain", base_link=group.base, tip_link=group.tip)
            continue
        for joint in group.controller.joints:
            ElementTree.SubElement(element, "joint", name=joint)
    if len(groups) > 1:
        element = ElementTree.SubElement(root, "group", name="all")
        for group in groups:
            ElementTree.SubElement(element, "group", name=group.name)
    for group in groups:
        for name, positions in _states(robot, group).items():
            element = ElementTree.SubElement(root, "group_state", name=name, group=group.name)
            for joint, position in positions.items():
                ElementTree.SubElement(element, "joint", name=joint, value=f"{position:g}")
    # A hand alone is the robot itself, and no end of another one.
    hands = [group for group in groups if group.compliant] if len(groups) > 1 else []
    for group in hands:
        arm = _carrier(group, groups)
        attributes = {"name": group.name, "parent_link": group.base, "group": group.name}
        if arm is not None:
            attributes["parent_group"] = arm.name
        ElementTree.SubElement(root, "end_effector", attributes)
    for pair, reason in sorted(disabled_pairs(robot, compliant).items(), key=lambda entry: sorted(entry[0])):
        first, second = sorted(pair) if len(pair) == 2 else (*pair, *pair)
        ElementTree.SubElement(root, "disable_collisions", link1=first, link2=second, reason=reason)
    ElementTree.indent(root)
    header = _HEADER.format(name=robot.name, keep=f"it keeps every group_state but {HOME}")
    return f'<?xml version="1.0"?>\n<!-- {header} -->\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _states(robot: RobotDescription, group: Group) -> dict[str, dict[str, float]]:
    """The named poses of a group: home, and what its SRDF has."""
    joints = group.controller.joints
    home = {joint: robot.home[joint] for joint in joints}
    semantics = load_semantics(robot)
    kept = (
        {}
        if semantics is None
        else {
            name: positions
            for (name, owner), positions in semantics.state_groups.items()
            if owner == group.name and name != HOME
        }
    )
    return {HOME: home, **(kept or {READY: home})}


def _carrier(hand: Group, groups: list[Group]) -> Group | None:
    """The arm that holds a hand: the one of its side, or the only one."""
    arms = [group for group in groups if not group.compliant]
    side = hand.name.partition("_")[0]
    return next((arm for arm in arms if arm.name.startswith(f"{side}_")), arms[0] if len(arms) == 1 else None)


def _kinematics(groups: list[Group]) -> dict:
    return {
        group.name: {
            "kinematics_solver": "kdl_kinematics_plugin/KDLKinematicsPlugin",
            "kinematics_solver_search_resolution": 0.005,
            "kinematics_solver_timeout": 0.05,
        }
        for group in groups
        if not group.compliant
    }


def _joint_limits(robot: RobotDescription) -> dict:
    limits = {}
    for joint in robot.action_joints:
        limit = robot.limits[joint]
        limits[joint] = {
            "has_position_limits": True,
            "min_position": limit.lower,
            "max_position": limit.upper,
            "has_velocity_limits": True,
            "max_velocity": limit.velocity,
            "has_acceleration_limits": True,
            "max_acceleration": limit.acceleration,
            "has_jerk_limits": True,
            "max_jerk": limit.jerk,
        }
    return {
        "default_velocity_scaling_factor": _SPEED,
        "default_acceleration_scaling_factor": _SPEED,
        "joint_limits": limits,
    }


def _ompl(groups: list[Group]) -> dict:
    planners = {
        "RRTConnect": {"type": "geometric::RRTConnect", "range": 0.0},
        "RRTstar": {
            "type": "geometric::RRTstar",
            "range": 0.0,
            "goal_bias": 0.05,
            "delay_collision_checking": 1,
        },
    }
    content: dict = {
        "planning_plugins": ["ompl_interface/OMPLPlanner"],
        "request_adapters": [
            "default_planning_request_adapters/ResolveConstraintFrames",
            "default_planning_request_adapters/ValidateWorkspaceBounds",
            "default_planning_request_adapters/CheckStartStateBounds",
            "default_planning_request_adapters/CheckStartStateCollision",
        ],
        "response_adapters": [
            "default_planning_response_adapters/AddTimeOptimalParameterization",
            "default_planning_response_adapters/ValidateSolution",
            "default_planning_response_adapters/DisplayMotionPath",
        ],
        "planner_configs": planners,
    }
    names = [group.name for group in groups]
    for name in [*names, *(["all"] if len(names) > 1 else [])]:
        content[name] = {
            "planner_configs": list(planners),
            "default_planner_config": "RRTConnect",
            "longest_valid_segment_fraction": 0.002,
        }
    return content


def _controllers(robot: RobotDescription) -> dict:
    manager: dict = {"controller_names": [controller.name for controller in robot.controllers]}
    for controller in robot.controllers:
        manager[controller.name] = {
            "type": "FollowJointTrajectory",
            "action_ns": "follow_joint_trajectory",
            "default": True,
            "joints": list(controller.joints),
        }
    return {
        "moveit_controller_manager": "moveit_simple_controller_manager/MoveItSimpleControllerManager",
        "moveit_simple_controller_manager": manager,
    }


def _yaml(robot: RobotDescription, content: dict) -> str:
    header = _HEADER.format(name=robot.name, keep="from its robot file, so change it there")
    return f"# {header}\n{yaml.safe_dump(content, sort_keys=False, width=100)}"
