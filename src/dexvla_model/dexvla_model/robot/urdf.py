"""Reading a robot's URDF: xacro expansion and the limits of its joints."""

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import xacro

from dexvla_model.errors import UserError


@dataclass(frozen=True)
class UrdfJointLimit:
    """Limits of one joint as its `<limit>` states them, in `unit` (rad, or m for a prismatic joint) and `unit`/s."""

    lower: float
    upper: float
    velocity: float
    unit: str


def expand_xacro(path: Path, arguments: dict[str, str]) -> str:
    """The URDF text of a xacro (or plain URDF) file.

    Raises:
        UserError: the file is missing or xacro refuses it.
    """
    if not path.is_file():
        raise UserError(f"{path}: the URDF that the robot file names does not exist; correct its key urdf.file.")
    try:
        document = xacro.process_file(str(path), mappings={key: str(value) for key, value in arguments.items()})
    except Exception as error:  # xacro raises half a dozen unrelated classes, all about the file's content
        raise UserError(f"{path}: xacro cannot expand it ({error}); mend the file or the key urdf.arguments.") from error
    return document.toxml()


def urdf_joint_limits(urdf_xml: str) -> dict[str, UrdfJointLimit]:
    """Limits of every moving joint of the URDF that follows no other joint, by name; continuous joints are unbounded."""
    limits = {}
    for joint in ElementTree.fromstring(urdf_xml).iter("joint"):
        kind = joint.get("type")
        if kind not in ("revolute", "prismatic", "continuous") or joint.find("mimic") is not None:
            continue
        limit = joint.find("limit")
        attributes = {} if limit is None else limit.attrib
        limits[joint.get("name", "")] = UrdfJointLimit(
            lower=-math.inf if kind == "continuous" else float(attributes.get("lower", 0.0)),
            upper=math.inf if kind == "continuous" else float(attributes.get("upper", 0.0)),
            velocity=float(attributes.get("velocity", 0.0)),
            unit="m" if kind == "prismatic" else "rad",
        )
    return limits
