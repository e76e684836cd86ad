"""A robot's folder in config/moveit: where it stands, and what its SRDF says."""

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

from dexvla_model.errors import UserError
from dexvla_model.resources import find_resource, list_resources
from dexvla_model.robot.description import RobotDescription

# The files of the folder besides NAME.srdf.
MOVEIT_FILES = ("kinematics.yaml", "joint_limits.yaml", "ompl_planning.yaml", "moveit_controllers.yaml")
# Pairs that never met while the file was computed; they may be skipped to save time, but need not.
NEVER = "Never"


@dataclass(frozen=True)
class SemanticDescription:
    """What an SRDF adds to a URDF.

    Attributes:
        groups: joints of each group that names joints itself; a group of a chain has none here.
        subgroups: groups of each group that is made of others. chains: base and tip link of those by chain.
        states: position of each joint by name of the pose, all groups together.
        state_groups: pairs (pose, group) as they stand, with their joints.
        disabled: reason by pair of link names.
        end_effectors: name, parent link, group of each.
    """

    path: Path
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    subgroups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    chains: dict[str, tuple[str, str]] = field(default_factory=dict)
    states: dict[str, dict[str, float]] = field(default_factory=dict)
    state_groups: dict[tuple[str, str], dict[str, float]] = field(default_factory=dict)
    disabled: dict[frozenset[str], str] = field(default_factory=dict)
    end_effectors: tuple[tuple[str, str, str], ...] = ()

    def not_checked(self) -> frozenset[frozenset[str]]:
        """Pairs of links that touch without harm: neighbours, and those that always do."""
        return frozenset(pair for pair, reason in self.disabled.items() if reason != NEVER)


def moveit_folder(name: str, path: Path) -> Path | None:
    """The MoveIt folder of a robot: ../moveit/NAME beside its file, else the one that ships; or None.

    Args:
        path: of the robot file.
    """
    beside = path.resolve().parent.parent / "moveit" / name
    if beside.is_dir():
        return beside
    if path.resolve().parent.name != "robots" and name in list_resources("config/moveit"):
        return find_resource(f"config/moveit/{name}")
    return None


def load_semantics(robot: RobotDescription) -> SemanticDescription | None:
    """The robot's SRDF; None where it has none.

    Raises:
        UserError: the SRDF cannot be read.
    """
    folder = moveit_folder(robot.name, robot.path)
    file = None if folder is None else folder / f"{robot.name}.srdf"
    return read_srdf(file) if file is not None and file.is_file() else None


def read_srdf(file: Path) -> SemanticDescription:
    """An SRDF file.

    Raises:
        UserError: it cannot be read, is no XML, or a position in it is no number.
    """
    try:
        root = ElementTree.fromstring(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ElementTree.ParseError) as error:
        raise UserError(f"{file}: the SRDF cannot be read ({error}); mend or remove it.") from error
    semantics = SemanticDescription(
        file,
        end_effectors=tuple(
            (one.get("name", ""), one.get("parent_link", ""), one.get("group", ""))
            for one in root.findall("end_effector")
        ),
    )
    for group in root.findall("group"):
        name = group.get("name", "")
        semantics.groups[name] = tuple(joint.get("name", "") for joint in group.findall("joint"))
        semantics.subgroups[name] = tuple(inner.get("name", "") for inner in group.findall("group"))
        for chain in group.findall("chain"):
            semantics.chains[name] = (chain.get("base_link", ""), chain.get("tip_link", ""))
    for state in root.findall("group_state"):
        name, group = state.get("name", ""), state.get("group", "")
        joints = {joint.get("name", ""): _number(joint, file, name) for joint in state.findall("joint")}
        semantics.states.setdefault(name, {}).update(joints)
        semantics.state_groups[name, group] = joints
    for pair in root.findall("disable_collisions"):
        links = frozenset((pair.get("link1", ""), pair.get("link2", "")))
        semantics.disabled[links] = pair.get("reason", "")
    return semantics


def chain_joints(root: ElementTree.Element, base: str, tip: str) -> tuple[str, ...]:
    """Names of the moving joints of a URDF from one link to another; empty where no chain joins them."""
    carrier = {
        joint.find("child").get("link"): joint
        for joint in root.findall("joint")
        if joint.find("child") is not None
    }
    names: list[str] = []
    link = tip
    while link != base:
        if link not in carrier:
            return ()
        if carrier[link].get("type") != "fixed":
            names.append(carrier[link].get("name"))
        link = carrier[link].find("parent").get("link")
    return tuple(reversed(names))


def _number(joint: ElementTree.Element, file: Path, state: str) -> float:
    text = joint.get("value", "")
    try:
        return float(text)
    except ValueError as error:
        raise UserError(
            f"{file}: group_state {state}: the joint {joint.get('name')} is {text!r}, needed is one number "
            "in rad or m; correct it."
        ) from error
