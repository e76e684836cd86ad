"""A first robot file, written from a URDF."""

import math
import os
import re
from collections.abc import Iterable
from pathlib import Path

import yaml

from dexvla_model.errors import UserError
from dexvla_model.resources import resource_roots
from dexvla_model.robot.check.urdf_facts import UrdfFacts
from dexvla_model.robot.urdf import UrdfJointLimit

# Stands in the file where only a person can know.
FILL_IN = "FILL IN"

_NAME = re.compile(r"[a-z][a-z0-9_]*")
# Guesses, slow on purpose: of a joint that turns in rad, of one that slides in m.
_VELOCITY = {"rad": 1.0, "m": 0.05}
_ACCELERATION = {"rad": 2.0, "m": 0.2}
_JERK = {"rad": 20.0, "m": 2.0}

_TEMPLATE = """\
# {name}: written from {urdf}. Look at every line; where it says "{fill_in}", only you can know.
# Lengths in m, angles in rad, rates in Hz, sizes in pixels as [width, height].
name: {name}
embodiment: {name}             # which head of the policy drives this robot
base_frame: {base}

urdf:
  file: {urdf}
  arguments: {{}}

cameras:
{cameras}
# Proprioception and action, in this order. `relative`: the policy predicts the motion from where it is.
state:
{state}
action:
{action}
# {fill_in}: one for the arm, one for each gripper or hand, as in the controllers file.
controllers:
  - name: joint_trajectory_controller
    type: joint_trajectory_controller/JointTrajectoryController
    joints: [{joints}]

rates:                         # {fill_in}: those of your robot
  observation_hz: 10.0         # images to the policy, at most
  action_hz: 10.0              # rows of an action chunk
  joint_state_hz: 100.0
  controller_hz: 100.0         # the controllers' update

# Position and velocity limits come from the URDF; a value here may only tighten them. Acceleration and
# jerk have no place in a URDF. {fill_in}: these are slow guesses; the maker's MoveIt configuration often has
# accelerations.
limits:
{limits}
# Where the arm waits. {fill_in}: this is zero, or the middle of the range where zero is no position.
home:
{home}"""


def new_robot_file(name: str, urdf_path: Path, out: Path) -> str:
    """The text of a robot file for a URDF or xacro file; `out` is where it will stand.

    Raises:
        UserError: the name is none, or the URDF is missing, unreadable or has no moving joint.
    """
    if not _NAME.fullmatch(name):
        raise UserError(
            f"The name {name!r} is not usable; allowed are small letters, digits and _, a "
            "letter first."
        )
    if not urdf_path.is_file():
        raise UserError(f"--urdf {urdf_path}: there is no such file; correct the path.")
    urdf = UrdfFacts.read(urdf_path, {})
    if not urdf.limits:
        raise UserError(
            f"{urdf_path}: no joint moves; give a URDF with revolute, continuous or prismatic "
            "joints."
        )
    joints = {_quoted(joint): limit for joint, limit in urdf.limits.items()}
    return _TEMPLATE.format(
        fill_in=FILL_IN,
        name=name,
        base="base_link" if "base_link" in urdf.links else urdf.base,
        urdf=_relative(urdf_path, out),
        cameras=_cameras(urdf),
        state=_lines(f"  - {{joint: {joint}, unit: {limit.unit}}}" for joint, limit in joints.items()),
        action=_lines(
            f"  - {{joint: {joint}, unit: {limit.unit}{', relative: true' if limit.unit == 'rad' else ''}}}"
            for joint, limit in joints.items()
        ),
        joints=", ".join(joints),
        limits=_lines(f"  {joint}: {{{_limits(limit)}}}" for joint, limit in joints.items()),
        home=_lines(f"  {joint}: {_home(limit)}" for joint, limit in joints.items()).rstrip("\n") + "\n",
    )


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _quoted(joint: str) -> str:
    """A joint's name as YAML text; some hands number their joints, and `on` would be true."""
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_/.-]*", joint) and yaml.safe_load(joint) == joint
    return joint if plain else f'"{joint}"'


def _limits(limit: UrdfJointLimit) -> str:
    unit = limit.unit
    values = {f"acceleration_{unit}_s2": _ACCELERATION[unit], f"jerk_{unit}_s3": _JERK[unit]}
    if not limit.velocity > 0.0:
        values = {f"velocity_{unit}_s": _VELOCITY[unit]} | values
    return ", ".join(f"{key}: {value}" for key, value in values.items())


def _home(limit: UrdfJointLimit) -> float:
    """Zero where it is a position, else the middle of the range, in rad or m."""
    if limit.lower <= 0.0 <= limit.upper:
        return 0.0
    middle = (limit.lower + limit.upper) / 2.0
    rounded = round(middle, 4)
    return rounded if limit.lower <= rounded <= limit.upper and math.isfinite(rounded) else middle


def _relative(urdf_path: Path, out: Path) -> str:
    """How the robot file names the URDF: from the folder that holds config/ and urdf/, else from its own."""
    absolute = urdf_path.resolve()
    for root in resource_roots():
        if absolute.is_relative_to(root.resolve()):
            return absolute.relative_to(root.resolve()).as_posix()
    return Path(os.path.relpath(absolute, out.resolve().parent)).as_posix()


def _cameras(urdf: UrdfFacts) -> str:
    """The first frame that sees, or one that the URDF still has to get."""
    angles = urdf.opening_angles()
    frames = sorted(link for link in urdf.links if link.endswith("optical_frame"))
    frames.sort(key=lambda link: link not in angles)
    note = f"# {FILL_IN}: the topic, sizes and rate of your camera"
    frame = frames[0] if frames else "scene_camera_optical_frame"
    if not frames:
        note = (
            f"# {FILL_IN}: add this link to the URDF (urdf/macros/camera.xacro), then topic, "
            "sizes and rate"
        )
    return f"""\
  {note}
  - role: scene
    topic: cameras/scene/image_raw
    frame: {frame}
    transport: raw
    size: [320, 240]
    model_size: [140, 112]     # multiples of 28, or of 32 for Qwen3-VL
    rate_hz: 10.0
"""
