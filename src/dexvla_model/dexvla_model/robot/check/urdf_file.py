"""The URDF by itself: units, what the simulation and ros2_control need of it."""

import math
from collections.abc import Iterator, Mapping, Sequence

from dexvla_model.robot.check.finding import ERROR, WARNING, Finding
from dexvla_model.robot.check.robot_file import FAST_RAD_S, LONG_M, TURN_RAD
from dexvla_model.robot.check.urdf_facts import UrdfFacts


def check_urdf(urdf: UrdfFacts) -> Iterator[Finding]:
    """Ranges that look like other units or are empty, missing efforts, opening angles of cameras."""
    file = str(urdf.path)
    for joint, limit in urdf.limits.items():
        ends = [abs(end) for end in (limit.lower, limit.upper) if math.isfinite(end)]
        largest, wide = max(ends, default=0.0), LONG_M if limit.unit == "m" else TURN_RAD
        other = "millimetres" if limit.unit == "m" else "degrees"
        if ends and limit.lower >= limit.upper:
            text = (
                f"is [{limit.lower:g}, {limit.upper:g}], which leaves no room to move; correct "
                "lower and upper."
            )
            yield Finding(ERROR, file, f"joint {joint} limit", text)
        elif largest > wide:
            text = f"reaches {largest:g} {limit.unit}, which looks like {other}."
            yield Finding(WARNING, file, f"joint {joint} limit", text)
        if limit.unit == "rad" and limit.velocity > FAST_RAD_S:
            text = f"has the velocity {limit.velocity:g} rad/s, which looks like degrees/s."
            yield Finding(WARNING, file, f"joint {joint} limit", text)
        if not urdf.effort(joint) > 0.0:
            text = "has no effort, which the simulation's servo needs; add it (N m, or N where it slides)."
            yield Finding(WARNING, file, f"joint {joint} limit", text)
    for link, angle in urdf.opening_angles().items():
        if not 0.0 < angle < math.pi:
            text = f"is {angle:g}, but it has to lie in (0, {math.pi:.4g}) rad"
            degrees = f"; it looks like degrees, which would be {math.radians(angle):.4g} rad."
            text += degrees if angle > 0.0 else "."
            yield Finding(ERROR, file, f"horizontal_fov of {link}", text)


def check_ros2_control(
    urdf: UrdfFacts, joints: Sequence[str], home: Mapping[str, float], hardware: str
) -> Iterator[Finding]:
    """The ros2_control tags against the action's joints; `hardware` is the xacro argument that `urdf` has."""
    file, offered = f"{urdf.path} (hardware:={hardware})", urdf.commands()
    if not offered:
        text = "is missing: no controller manager can drive this robot; see urdf/macros/ros2_control.xacro."
        yield Finding(WARNING, file, "ros2_control", text)
        return
    for joint in joints:
        if joint in urdf.limits and not offered.get(joint):
            yield Finding(ERROR, file, f"ros2_control joint {joint}", "has no command interface; add one.")
    for joint in offered:
        if joint not in urdf.limits and joint not in urdf.followers:
            text = "is no moving joint of the same file; correct the name."
            yield Finding(ERROR, file, f"ros2_control joint {joint}", text)
    for joint, start in urdf.start_positions().items():
        if hardware == "mock" and joint in home and not abs(start - home[joint]) <= 1e-6:
            text = f"is {start:g}, but home.{joint} in the robot file is {home[joint]:g}."
            yield Finding(WARNING, file, f"ros2_control joint {joint} initial_value", text)
