"""The robot file against its URDF: all joints, limits, units and cameras, not only the first mistake."""

import difflib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dexvla_model.robot.check.finding import ERROR, WARNING, Finding
from dexvla_model.robot.check.urdf_facts import UrdfFacts
from dexvla_model.robot.description import Controller

# Beyond these a value is hardly meant in rad, rad/s, rad/s^2 or m: a little over one turn, five turns a
# second, what no arm and no hand reaches, and longer than the table.
TURN_RAD = 2.0 * math.pi + 0.3
FAST_RAD_S = 30.0
HASTY_RAD_S2 = 150.0
LONG_M = 3.0
# Rounding of a limit in a file to four places is no looser limit.
ROUNDING = 1e-9


def check_robot_file(content: Mapping[str, Any], path: Path, urdf: UrdfFacts) -> Iterator[Finding]:
    """Compare a robot file's YAML `content` with the URDF; what has a wrong form is passed over."""
    yield from _joints(content, path, urdf)
    yield from _order(content, path, urdf)
    yield from _limits_and_home(content, path, urdf)
    yield from _cameras(content, path, urdf)
    base = str(content.get("base_frame", "base_link"))
    if base not in urdf.links:
        text = f"is {base!r}, but {urdf.path} has no such link; its root is {urdf.base!r}."
        yield Finding(ERROR, str(path), "base_frame", text)


def controllers_of(content: Mapping[str, Any]) -> list[Controller]:
    """The entries of `controllers` that are complete."""
    return [
        Controller(str(entry["name"]), str(entry.get("type", "")), tuple(map(str, entry["joints"])))
        for entry in _entries(content, "controllers")
        if "name" in entry and isinstance(entry.get("joints"), list)
    ]


def action_joints_of(content: Mapping[str, Any]) -> list[str]:
    """The joints of `action`, in its order."""
    return _layout(content, "action")


def home_of(content: Mapping[str, Any]) -> dict[str, float]:
    """The positions of `home` that are numbers, in rad or m."""
    numbers = {str(joint): _number(value) for joint, value in _section(content, "home").items()}
    return {joint: value for joint, value in numbers.items() if value is not None}


def controller_rate_of(content: Mapping[str, Any]) -> float | None:
    """`rates.controller_hz`, where it is a number."""
    return _number(_section(content, "rates").get("controller_hz"))


def _entries(content: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    values = content.get(key)
    return [entry for entry in values if isinstance(entry, Mapping)] if isinstance(values, list) else []


def _layout(content: Mapping[str, Any], key: str) -> list[str]:
    return [str(entry.get("joint", "")) for entry in _entries(content, key)]


def _section(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = content.get(key)
    return value if isinstance(value, Mapping) else {}


def _joints(content: Mapping[str, Any], path: Path, urdf: UrdfFacts) -> Iterator[Finding]:
    """Joints that do not exist, follow another one, have another unit, or are forgotten."""
    named = [
        (f"{key}[{index}].joint", joint)
        for key in ("state", "action")
        for index, joint in enumerate(_layout(content, key))
    ]
    for index, controller in enumerate(_entries(content, "controllers")):
        joints = controller.get("joints")
        if isinstance(joints, list):
            named += [(f"controllers[{index}].joints", str(joint)) for joint in joints]
    for section in ("limits", "home"):
        named += [(f"{section}.{joint}", str(joint)) for joint in _section(content, section)]
    for key, joint in named:
        if joint in urdf.limits:
            continue
        if joint in urdf.followers:
            text = (
                f"is {joint!r}, but that joint of {urdf.path} follows another one; name the one "
                "it follows."
            )
        else:
            near = difflib.get_close_matches(joint, urdf.limits, n=1)
            moving = f"its moving joints are {', '.join(urdf.limits)}."
            remedy = f"did you mean {near[0]}?" if near else moving
            text = f"is {joint!r}, but no such joint moves in {urdf.path}; {remedy}"
        yield Finding(ERROR, str(path), key, text)
    for key in ("state", "action"):
        for index, entry in enumerate(_entries(content, key)):
            known = urdf.limits.get(str(entry.get("joint")))
            if known is not None and entry.get("unit") != known.unit:
                text = f"is {entry.get('unit')!r}, but {entry['joint']} moves in {known.unit}."
                yield Finding(ERROR, str(path), f"{key}[{index}].unit", text)
    actions = action_joints_of(content)
    for joint in urdf.limits:
        if actions and joint not in actions:
            text = (
                f"has no {joint}, which moves in {urdf.path}: nothing will drive it; add it or "
                "fix it there."
            )
            yield Finding(WARNING, str(path), "action", text)


def _order(content: Mapping[str, Any], path: Path, urdf: UrdfFacts) -> Iterator[Finding]:
    state, action = _layout(content, "state"), _layout(content, "action")
    if set(state) == set(action) and state != action:
        first = next(i for i, pair in enumerate(zip(state, action)) if pair[0] != pair[1])
        text = (
            f"is {state[first]!r}, but action[{first}].joint is {action[first]!r}: the same "
            "joints in two orders."
        )
        yield Finding(WARNING, str(path), f"state[{first}].joint", text)
    for index, controller in enumerate(controllers_of(content)):
        joints = [joint for joint in controller.joints if joint in urdf.limits]
        chain = [joint for joint in max(map(urdf.chain, joints), key=len, default=()) if joint in joints]
        # Only of one arm is the order known; the fingers of a hand stand beside each other.
        if set(chain) == set(joints) and joints != chain:
            text = f"are in the order {', '.join(joints)}, but along the arm it is {', '.join(chain)}."
            yield Finding(WARNING, str(path), f"controllers[{index}].joints", text)


def _limits_and_home(content: Mapping[str, Any], path: Path, urdf: UrdfFacts) -> Iterator[Finding]:
    for joint, known in urdf.limits.items():
        unit, section = known.unit, _section(_section(content, "limits"), joint)
        bounds = {
            f"lower_{unit}": (known.lower, known.upper, "the URDF's range"),
            f"upper_{unit}": (known.lower, known.upper, "the URDF's range"),
            f"velocity_{unit}_s": (0.0, known.velocity or math.inf, "the URDF's velocity limit"),
            f"acceleration_{unit}_s2": (0.0, math.inf, "positive numbers"),
        }
        for name, (lower, upper, what) in bounds.items():
            key, value = f"limits.{joint}.{name}", _number(section.get(name))
            if value is None:
                continue
            if not lower - ROUNDING <= value <= upper + ROUNDING:
                text = f"is {value:g}, but {what} is [{lower:g}, {upper:g}]"
                yield Finding(ERROR, str(path), key, text + _other_unit(value, lower, upper, unit))
            elif name.startswith("velocity") and unit == "rad" and value > FAST_RAD_S:
                yield Finding(WARNING, str(path), key, f"is {value:g} rad/s, which looks like degrees/s.")
            elif name.startswith("acceleration") and unit == "rad" and value > HASTY_RAD_S2:
                yield Finding(WARNING, str(path), key, f"is {value:g} rad/s^2, which looks like degrees/s^2.")
        lower = _number(section.get(f"lower_{unit}"), known.lower)
        upper = _number(section.get(f"upper_{unit}"), known.upper)
        home = _number(_section(content, "home").get(joint))
        if home is not None and not lower <= home <= upper:
            text = f"is {home:g}, but the joint's range is [{lower:g}, {upper:g}]"
            yield Finding(ERROR, str(path), f"home.{joint}", text + _other_unit(home, lower, upper, unit))
        elif home is not None and abs(home) > (LONG_M if unit == "m" else TURN_RAD):
            text = f"is {home:g} {unit}, which looks like {'millimetres' if unit == 'm' else 'degrees'}."
            yield Finding(WARNING, str(path), f"home.{joint}", text)


def _cameras(content: Mapping[str, Any], path: Path, urdf: UrdfFacts) -> Iterator[Finding]:
    angles, topics = urdf.opening_angles(), {}
    for index, camera in enumerate(_entries(content, "cameras")):
        frame, topic = str(camera.get("frame")), str(camera.get("topic"))
        if frame not in urdf.links:
            optical = [link for link in sorted(urdf.links) if "optical" in link]
            near = difflib.get_close_matches(frame, optical, n=1) or optical[:1]
            remedy = f"did you mean {near[0]}?" if near else "add it, as urdf/macros/camera.xacro does."
            text = f"is {frame!r}, but {urdf.path} has no such link; {remedy}"
            yield Finding(ERROR, str(path), f"cameras[{index}].frame", text)
        elif frame not in angles:
            text = f"is {frame!r}, of which {urdf.path} says no horizontal_fov: it cannot be simulated."
            yield Finding(WARNING, str(path), f"cameras[{index}].frame", text)
        if topic in topics:
            text = f"is {topic!r}, which cameras[{topics[topic]}] has as well."
            yield Finding(ERROR, str(path), f"cameras[{index}].topic", text)
        topics.setdefault(topic, index)


def _number(value: Any, default: float | None = None) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return default
    return float(value)


def _other_unit(value: float, lower: float, upper: float, unit: str) -> str:
    """The end of a sentence about a value out of range, which may be in degrees or millimetres."""
    scaled = value / 1000.0 if unit == "m" else math.radians(value)
    if lower <= scaled <= upper:
        other = "millimetres" if unit == "m" else "degrees"
        return f"; it looks like {other}, which would be {scaled:.4g} {unit}."
    return "; keep to it."
