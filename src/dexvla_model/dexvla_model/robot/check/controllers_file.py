"""The controller manager's YAML against the robot file and the ros2_control tags."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dexvla_model.errors import UserError
from dexvla_model.robot.check.finding import ERROR, WARNING, Finding
from dexvla_model.robot.check.urdf_facts import UrdfFacts
from dexvla_model.robot.description import Controller
from dexvla_model.yaml_reader import parse_yaml

BROADCASTER = "joint_state_broadcaster"
# What a stream of trajectories needs; see docs/robots/README.md.
STREAMING = {
    "interpolate_from_desired_state": True,
    "allow_nonzero_velocity_at_trajectory_end": False,
    "allow_partial_joints_goal": False,
}


def check_controllers_file(
    file: Path, controllers: Sequence[Controller], controller_hz: float | None, urdf: UrdfFacts | None
) -> Iterator[Finding]:
    """Compare a controllers file with the robot file's `controllers` and rate.

    Args:
        urdf: expanded for the hardware that the file is for; None = not to be read.

    Raises:
        UserError: the file cannot be read, or is no YAML mapping.
    """
    try:
        content = parse_yaml(file.read_text(encoding="utf-8"), file).all()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: the controllers file cannot be read ({error}).") from error
    sections = {name: _parameters(section) for name, section in content.items()}
    if "controller_manager" not in sections:
        yield Finding(ERROR, str(file), "controller_manager", "is missing; add it with its ros__parameters.")
        return
    manager = sections.pop("controller_manager")
    declared = {name: value.get("type") for name, value in manager.items() if isinstance(value, Mapping)}
    rate = manager.get("update_rate")
    if controller_hz is not None and rate != controller_hz:
        text = f"is {rate}, but rates.controller_hz in the robot file is {controller_hz:g}."
        yield Finding(ERROR, str(file), "controller_manager.update_rate", text)
    if BROADCASTER not in declared:
        text = "is not declared: nobody would publish joint_states; add it."
        yield Finding(ERROR, str(file), f"controller_manager.{BROADCASTER}", text)
    if manager.get("enforce_command_limits") is True:
        text = (
            "is true: it would shrink steps of a stream whose limits are kept before "
            "sending; set it to false."
        )
        yield Finding(WARNING, str(file), "controller_manager.enforce_command_limits", text)
    for name in sections:
        if name not in declared:
            yield Finding(WARNING, str(file), name, "is no controller that controller_manager declares.")
    for name in declared:
        if name not in sections and name != BROADCASTER:
            text = "is missing: the controller is declared without parameters."
            yield Finding(ERROR, str(file), name, text)
    for controller in controllers:
        yield from _streamed(file, controller, declared, sections)
    if urdf is not None:
        offered = urdf.commands()
        for name in sections:
            yield from _claims(file, name, sections[name], offered, urdf)


def _parameters(section: Any) -> Mapping[str, Any]:
    values = section.get("ros__parameters") if isinstance(section, Mapping) else None
    return values if isinstance(values, Mapping) else {}


def _texts(value: Any) -> tuple[str, ...]:
    """A list's entries, or the one that stands in its place."""
    return tuple(map(str, value if isinstance(value, list) else [] if value is None else [value]))


def _streamed(
    file: Path, controller: Controller, declared: Mapping[str, Any], sections: Mapping[str, Mapping[str, Any]]
) -> Iterator[Finding]:
    """One of the controllers that a policy streams to."""
    name = controller.name
    if name not in declared:
        text = f"is missing, but the robot file streams to it; declared are {', '.join(declared)}."
        yield Finding(ERROR, str(file), f"controller_manager.{name}", text)
        return
    if declared[name] != controller.type:
        text = f"is {declared[name]!r}, but the robot file has {controller.type!r}."
        yield Finding(ERROR, str(file), f"controller_manager.{name}.type", text)
    parameters = sections.get(name)
    if parameters is None:
        return
    joints = _texts(parameters.get("joints"))
    if set(joints) != set(controller.joints):
        text = (
            f"claims {', '.join(joints) or 'none'}, but in the robot file it is "
            f"{', '.join(controller.joints)}."
        )
        yield Finding(ERROR, str(file), f"{name}.joints", text)
    elif joints != controller.joints:
        text = (
            f"has the order {', '.join(joints)}, but in the robot file it is "
            f"{', '.join(controller.joints)}."
        )
        yield Finding(ERROR, str(file), f"{name}.joints", text)
    for key, wanted in STREAMING.items():
        if parameters.get(key) is not wanted:
            found = f"is {str(parameters[key]).lower()}" if key in parameters else "is not given"
            text = f"{found}, but a streamed policy needs {str(wanted).lower()}."
            yield Finding(WARNING, str(file), f"{name}.{key}", text)
    timeout = parameters.get("cmd_timeout")
    if not isinstance(timeout, int | float) or timeout <= 0.0:
        text = "is not given: the controller would wait for ever when the stream breaks; 0.5 s is usual."
        yield Finding(WARNING, str(file), f"{name}.cmd_timeout", text)


def _claims(
    file: Path, name: str, parameters: Mapping[str, Any], offered: Mapping[str, set[str]], urdf: UrdfFacts
) -> Iterator[Finding]:
    """A controller's joints and interfaces against what the hardware offers."""
    key = "joints" if "joints" in parameters else "joint"
    wanted = _texts(parameters.get("command_interfaces", parameters.get("interface_name", "position")))
    for joint in _texts(parameters.get(key)):
        if joint not in urdf.limits:
            text = f"claims {joint!r}, but no such joint can be driven in {urdf.path}."
            yield Finding(ERROR, str(file), f"{name}.{key}", text)
        elif offered and not set(wanted) <= offered.get(joint, set()):
            text = (
                f"claims {joint}/{', '.join(wanted)}, but the ros2_control tags of {urdf.path} do "
                "not offer it."
            )
            yield Finding(ERROR, str(file), f"{name}.{key}", text)
