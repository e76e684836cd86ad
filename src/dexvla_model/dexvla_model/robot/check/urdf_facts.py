"""What the checks have to know of a URDF."""

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dexvla_model.errors import UserError
from dexvla_model.robot.urdf import UrdfJointLimit, expand_xacro, urdf_joint_limits


@dataclass(frozen=True)
class UrdfFacts:
    """An expanded URDF. `limits` are those of its joints that move and follow no other one."""

    path: Path
    root: ElementTree.Element
    limits: Mapping[str, UrdfJointLimit]

    @classmethod
    def read(cls, path: Path, arguments: Mapping[str, str]) -> "UrdfFacts":
        """Expand the file.

        Raises:
            UserError: the file is missing, xacro refuses it, or a limit in it is no number.
        """
        text = expand_xacro(path, dict(arguments))
        try:
            return cls(path, ElementTree.fromstring(text), urdf_joint_limits(text))
        except ValueError as error:
            raise UserError(
                f"{path}: limit is not readable in some joint ({error}); give "
                "numbers."
            ) from error

    @cached_property
    def links(self) -> frozenset[str]:
        return frozenset(link.get("name", "") for link in self.root.findall("link"))

    @cached_property
    def followers(self) -> frozenset[str]:
        """Joints that follow another one (mimic)."""
        joints = self.root.findall("joint")
        return frozenset(joint.get("name", "") for joint in joints if joint.find("mimic") is not None)

    @cached_property
    def base(self) -> str:
        """The link that is nobody's child."""
        children = {joint.find("child").get("link") for joint in self._attached()}
        names = (link.get("name", "") for link in self.root.findall("link"))
        return next((name for name in names if name not in children), "")

    def effort(self, joint: str) -> float:
        """The joint's effort limit in N m or N; 0 where none is given."""
        for element in self.root.findall("joint"):
            limit = element.find("limit")
            if element.get("name") == joint and limit is not None:
                return _number(limit.get("effort", "0"))
        return 0.0

    def chain(self, joint: str) -> tuple[str, ...]:
        """Names of the joints from the base to `joint`, which is the last of them."""
        carried = {element.find("child").get("link"): element for element in self._attached()}
        element = next((one for one in self._attached() if one.get("name") == joint), None)
        names: list[str] = []
        while element is not None and element.get("name") not in names:
            names.append(element.get("name", ""))
            element = carried.get(element.find("parent").get("link"))
        return tuple(reversed(names))

    def opening_angles(self) -> dict[str, float]:
        """Opening angle of every camera sensor, by its link and the links fixed to it; meant in rad."""
        angles = {}
        for gazebo in self.root.iter("gazebo"):
            angle = gazebo.findtext("sensor/camera/horizontal_fov")
            if angle is not None:
                angles[gazebo.get("reference", "")] = _number(angle)
        for joint in self._attached():
            parent = joint.find("parent").get("link")
            if joint.get("type") == "fixed" and parent in angles:
                angles.setdefault(joint.find("child").get("link"), angles[parent])
        return angles

    def commands(self) -> dict[str, set[str]]:
        """The command interfaces that the ros2_control tags offer, by joint."""
        return {
            joint.get("name", ""): {entry.get("name", "") for entry in joint.findall("command_interface")}
            for joint in self.root.iterfind("ros2_control/joint")
        }

    def start_positions(self) -> dict[str, float]:
        """Where the ros2_control tags have joints at the start, in rad or m."""
        starts = {}
        for joint in self.root.iterfind("ros2_control/joint"):
            value = joint.findtext("state_interface[@name='position']/param[@name='initial_value']")
            if value is not None:
                starts[joint.get("name", "")] = _number(value)
        return starts

    def _attached(self) -> list[ElementTree.Element]:
        """The joints of the kinematic tree; ros2_control's tags have joints too."""
        joints = self.root.findall("joint")
        return [one for one in joints if one.find("parent") is not None and one.find("child") is not None]


def _number(text: str) -> float:
    """Not a number where the text is none: every comparison with it fails, which is a finding."""
    try:
        return float(text)
    except ValueError:
        return math.nan
