"""A robot's MoveIt configuration against its robot file and its URDF."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dexvla_model.errors import UserError
from dexvla_model.robot.check.finding import ERROR, WARNING, Finding, from_error
from dexvla_model.robot.check.urdf_facts import UrdfFacts
from dexvla_model.robot.description import RobotDescription
from dexvla_model.robot.moveit import MOVEIT_FILES, SemanticDescription, chain_joints, read_srdf
from dexvla_model.yaml_reader import parse_yaml

# Rounding to six digits is no looser limit.
_ROUNDING = 1e-5
_MANAGER = "moveit_simple_controller_manager"


def check_moveit(folder: Path, robot: RobotDescription) -> Iterator[Finding]:
    """Compare the files of a folder in config/moveit with the robot."""
    urdf = UrdfFacts.read(robot.urdf_path, {**robot.urdf_arguments, "table": "true"})
    srdf = folder / f"{robot.name}.srdf"
    groups: set[str] | None = None
    if srdf.is_file():
        try:
            semantics = read_srdf(srdf)
            groups = set(semantics.groups)
            yield from _srdf(srdf, semantics, robot, urdf)
        except UserError as error:
            yield from_error(error, srdf)
    else:
        yield _missing(srdf, robot)
    checks = dict(zip(MOVEIT_FILES, (_kinematics, _joint_limits, _ompl, _controllers)))
    for name, check in checks.items():
        file = folder / name
        if not file.is_file():
            yield _missing(file, robot)
            continue
        try:
            content = parse_yaml(file.read_text(encoding="utf-8"), file).all()
        except (OSError, UnicodeDecodeError) as error:
            yield Finding(ERROR, str(file), "", f"cannot be read ({error}).")
        except UserError as error:
            yield from_error(error, file)
        else:
            yield from check(file, content, robot, urdf, groups)


def _missing(file: Path, robot: RobotDescription) -> Finding:
    return Finding(ERROR, str(file), "", f"is missing; write it with `dexvla robot moveit {robot.name}`.")


def _srdf(
    file: Path, semantics: SemanticDescription, robot: RobotDescription, urdf: UrdfFacts
) -> Iterator[Finding]:
    known = {*urdf.limits, *urdf.followers}
    for group, joints in semantics.groups.items():
        for joint in joints:
            if joint not in known:
                yield Finding(
                    ERROR, str(file), f"group {group}", f"has the joint {joint!r}, which {urdf.path} lacks."
                )
        for inner in semantics.subgroups[group]:
            if inner not in semantics.groups:
                yield Finding(
                    ERROR, str(file), f"group {group}", f"has the group {inner!r}, which is not there."
                )
    for group, (base, tip) in semantics.chains.items():
        if not chain_joints(urdf.root, base, tip):
            text = f"goes from {base!r} to {tip!r}, but no chain of {urdf.path} does."
            yield Finding(ERROR, str(file), f"group {group}", text)
    for (state, group), joints in semantics.state_groups.items():
        yield from _state(file, state, group, joints, semantics, robot)
    for name, parent, group in semantics.end_effectors:
        if parent not in urdf.links:
            text = f"is held by the link {parent!r}, which {urdf.path} lacks."
            yield Finding(ERROR, str(file), f"end_effector {name}", text)
        if group not in semantics.groups:
            yield Finding(
                ERROR, str(file), f"end_effector {name}", f"has the group {group!r}, which is not there."
            )
    strange = sorted({link for pair in semantics.disabled for link in pair} - urdf.links)
    for link in strange:
        text = f"names the link {link!r}, which {urdf.path} lacks; write the file anew."
        yield Finding(WARNING, str(file), "disable_collisions", text)


def _state(
    file: Path,
    state: str,
    group: str,
    joints: Mapping[str, float],
    semantics: SemanticDescription,
    robot: RobotDescription,
) -> Iterator[Finding]:
    key = f"group_state {state}"
    if group not in semantics.groups:
        yield Finding(ERROR, str(file), key, f"has the group {group!r}, which is not there.")
    for joint, position in joints.items():
        limit = robot.limits.get(joint)
        if limit is None:
            yield Finding(
                ERROR, str(file), key, f"has the joint {joint!r}, which is not in action of {robot.path}."
            )
        elif not limit.lower - _ROUNDING <= position <= limit.upper + _ROUNDING:
            text = f"has {joint} at {position:g} {limit.unit}; allowed is {limit.lower:g} to {limit.upper:g}."
            yield Finding(ERROR, str(file), key, text)
        elif state == "home" and abs(position - robot.home[joint]) > _ROUNDING:
            home = robot.home[joint]
            text = f"has {joint} at {position:g} {limit.unit}, but home of {robot.path} is {home:g}."
            yield Finding(ERROR, str(file), key, text)


def _kinematics(
    file: Path, content: Mapping[str, Any], robot: RobotDescription, urdf: UrdfFacts, groups: set[str] | None
) -> Iterator[Finding]:
    for group in content:
        if groups is not None and group not in groups:
            yield Finding(
                ERROR, str(file), group, f"is no group of the SRDF; it has {', '.join(sorted(groups))}."
            )


def _joint_limits(
    file: Path, content: Mapping[str, Any], robot: RobotDescription, urdf: UrdfFacts, groups: set[str] | None
) -> Iterator[Finding]:
    limits = content.get("joint_limits")
    limits = limits if isinstance(limits, Mapping) else {}
    for joint in robot.action_joints:
        if joint not in limits:
            yield Finding(
                WARNING, str(file), f"joint_limits.{joint}", "is missing: MoveIt would guess accelerations."
            )
    for joint, values in limits.items():
        key = f"joint_limits.{joint}"
        values = values if isinstance(values, Mapping) else {}
        if joint not in urdf.limits:
            yield Finding(ERROR, str(file), key, f"is no joint that can be driven in {urdf.path}.")
            continue
        of_urdf, ours = urdf.limits[joint], robot.limits.get(joint)
        bounds = [("max_velocity", of_urdf.velocity, urdf.path), ("max_position", of_urdf.upper, urdf.path)]
        if ours is not None:
            bounds += [
                ("max_acceleration", ours.acceleration, robot.path),
                ("max_jerk", ours.jerk, robot.path),
            ]
        for name, bound, source in bounds:
            value = values.get(name)
            if isinstance(value, int | float) and value > bound + _ROUNDING:
                yield Finding(
                    ERROR, str(file), f"{key}.{name}", f"is {value:g}, looser than the {bound:g} of {source}."
                )
        lower = values.get("min_position")
        if isinstance(lower, int | float) and lower < of_urdf.lower - _ROUNDING:
            text = f"is {lower:g}, looser than the {of_urdf.lower:g} of {urdf.path}."
            yield Finding(ERROR, str(file), f"{key}.min_position", text)


def _ompl(
    file: Path, content: Mapping[str, Any], robot: RobotDescription, urdf: UrdfFacts, groups: set[str] | None
) -> Iterator[Finding]:
    planners = content.get("planner_configs")
    planners = planners if isinstance(planners, Mapping) else {}
    for name, values in content.items():
        if name == "planner_configs" or not isinstance(values, Mapping):
            continue
        if groups is not None and name not in groups:
            yield Finding(
                ERROR, str(file), name, f"is no group of the SRDF; it has {', '.join(sorted(groups))}."
            )
        for planner in values.get("planner_configs") or ():
            if planner not in planners:
                text = f"names {planner!r}, which is not among {', '.join(planners) or 'none'}."
                yield Finding(ERROR, str(file), f"{name}.planner_configs", text)


def _controllers(
    file: Path, content: Mapping[str, Any], robot: RobotDescription, urdf: UrdfFacts, groups: set[str] | None
) -> Iterator[Finding]:
    manager = content.get(_MANAGER)
    manager = manager if isinstance(manager, Mapping) else {}
    names = [str(name) for name in manager.get("controller_names") or ()]
    ours = {controller.name: controller for controller in robot.controllers}
    for controller in ours:
        if controller not in names:
            text = f"lack {controller}, which moves {', '.join(ours[controller].joints)} in {robot.path}."
            yield Finding(ERROR, str(file), f"{_MANAGER}.controller_names", text)
    for name in names:
        key = f"{_MANAGER}.{name}"
        values = manager.get(name)
        if not isinstance(values, Mapping):
            yield Finding(ERROR, str(file), key, "is missing: the controller is named without parameters.")
            continue
        joints = tuple(map(str, values.get("joints") or ()))
        if name not in ours:
            text = f"is no controller of {robot.path}; it has {', '.join(ours)}."
            yield Finding(ERROR, str(file), key, text)
        elif set(joints) != set(ours[name].joints):
            wanted = ", ".join(ours[name].joints)
            text = f"claims {', '.join(joints) or 'none'}, but in {robot.path} it is {wanted}."
            yield Finding(ERROR, str(file), f"{key}.joints", text)
