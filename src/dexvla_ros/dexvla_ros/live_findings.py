"""What a look at the running graph says of a robot file: a finding for each thing that does not fit. No ROS."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from dexvla_model.robot import Camera, RobotDescription
from dexvla_model.robot.check import ERROR, WARNING, Finding
from dexvla_ros.gripper_bridge import BRIDGE_NODE
from dexvla_ros.robot_stops import ACTIVE

# Below the first share of what the file promises a rate is an error, outside the other two a warning.
_RATE_LOST = 0.45
_RATE_LOW, _RATE_HIGH = 0.85, 1.5
# Stamps may be this much ahead of the clock, and this old when they arrive.
_AHEAD_S = 0.05
_JOINTS_OLD_S = 0.25
_IMAGES_OLD_S = 0.5
# A joint may be measured this far outside its limits, as a share of its range.
_MARGIN = 0.1


@dataclass
class TopicRecord:
    """What was seen of one topic.

    Attributes:
        publishers, subscribers: names of the nodes at the other end, those of this stack's own included.
        types: message types that are offered or wanted there.
        incompatible: why a subscription of ours, or a publisher, would not be connected, by node.
        arrivals_s, stamps_s: of every message, node clock.
        facts: of the last message: names and positions of joints, or size, encoding and frame of an image.
    """

    publishers: list[str] = field(default_factory=list)
    subscribers: list[str] = field(default_factory=list)
    types: set[str] = field(default_factory=set)
    incompatible: dict[str, str] = field(default_factory=dict)
    arrivals_s: list[float] = field(default_factory=list)
    stamps_s: list[float] = field(default_factory=list)
    facts: dict = field(default_factory=dict)


@dataclass
class LiveRecord:
    """What was seen of the graph.

    Attributes:
        seconds: how long it was looked at. topics: by the name in the robot file.
        controller_states: state by controller, from the controller manager; None where nobody could be asked.
        errors: what nodes say on /diagnostics at level ERROR, by node.
    """

    seconds: float
    topics: Mapping[str, TopicRecord]
    controller_states: Mapping[str, str] | None
    errors: Mapping[str, str]


def live_findings(robot: RobotDescription, record: LiveRecord) -> list[Finding]:
    """All findings, errors first."""
    found = [*_joint_states(robot, record)]
    for index, camera in enumerate(robot.cameras):
        found += _camera(robot, index, camera, record)
    found += _controllers(robot, record)
    found += [
        _finding(robot, ERROR, "", f"the node {node} reports: {text}.")
        for node, text in record.errors.items()
    ]
    return sorted(found, key=lambda finding: finding.severity != ERROR)


def _finding(robot: RobotDescription, severity: str, key: str, text: str) -> Finding:
    return Finding(severity, str(robot.path), key, text)


def _published(
    robot: RobotDescription, key: str, topic: str, kind: str, record: TopicRecord, seconds: float
) -> Iterator[Finding]:
    """Who publishes the topic; nothing more is to be said after an error here."""
    if not record.publishers:
        yield _finding(robot, ERROR, key, f"is {topic}, but nobody publishes it: start its driver.")
    elif kind not in record.types:
        text = (
            f"is {topic}, on which {' and '.join(sorted(record.types))} is published, but needed is {kind}."
        )
        yield _finding(robot, ERROR, key, text)
    elif record.incompatible:
        node, reason = next(iter(record.incompatible.items()))
        yield _finding(
            robot, ERROR, key, f"is {topic}, which {node} publishes with other QoS than ours: {reason}"
        )
    elif not record.arrivals_s:
        text = f"is {topic}, which {record.publishers[0]} offers, but in {seconds:g} s no message came."
        yield _finding(robot, ERROR, key, text)
    if len(record.publishers) > 1:
        names = ", ".join(sorted(record.publishers))
        text = f"is {topic}, which {len(record.publishers)} nodes publish: {names}."
        yield _finding(robot, WARNING, key, text)


def _rate(
    robot: RobotDescription, key: str, topic: str, wanted_hz: float, arrivals_s: Sequence[float]
) -> Iterator[Finding]:
    if len(arrivals_s) < 2:
        return
    span_s = arrivals_s[-1] - arrivals_s[0]
    rate_hz = (len(arrivals_s) - 1) / span_s if span_s > 0.0 else 0.0
    share = rate_hz / wanted_hz
    if not _RATE_LOW <= share <= _RATE_HIGH:
        severity = ERROR if share < _RATE_LOST else WARNING
        text = f"is {wanted_hz:g}, but {topic} comes at {rate_hz:.1f} Hz."
        yield _finding(robot, severity, key, text)


def _stamps(
    robot: RobotDescription, key: str, topic: str, record: TopicRecord, old_s: float
) -> Iterator[Finding]:
    stamps_s, arrivals_s = np.array(record.stamps_s), np.array(record.arrivals_s)
    if not len(stamps_s):
        return
    ages_s = arrivals_s - stamps_s
    if (stamps_s == 0.0).any():
        yield _finding(robot, ERROR, key, f"is {topic}, whose stamps are zero: its driver has to set them.")
        return
    if (np.diff(stamps_s) < 0.0).any():
        yield _finding(
            robot, ERROR, key, f"is {topic}, whose stamps go back; two nodes publish it, or its clock jumps."
        )
    age_s = float(np.median(ages_s))
    if age_s > old_s:
        text = f"is {topic}, whose stamps are {age_s:.2f} s old (allowed: {old_s:g} s): set the clocks."
        yield _finding(robot, ERROR, key, text)
    elif age_s < -_AHEAD_S:
        text = f"is {topic}, whose stamps are {-age_s:.2f} s ahead of this clock: set the clocks."
        yield _finding(robot, ERROR, key, text)


def _joint_states(robot: RobotDescription, record: LiveRecord) -> Iterator[Finding]:
    topic = "joint_states"
    seen = record.topics[topic]
    first = list(
        _published(robot, "rates.joint_state_hz", topic, "sensor_msgs/msg/JointState", seen, record.seconds)
    )
    yield from first
    if any(finding.severity == ERROR for finding in first):
        return
    yield from _rate(robot, "rates.joint_state_hz", topic, robot.rates.joint_state_hz, seen.arrivals_s)
    yield from _stamps(robot, "rates.joint_state_hz", topic, seen, _JOINTS_OLD_S)
    positions = seen.facts.get("positions", {})
    for index, entry in enumerate(robot.state):
        key = f"state[{index}].joint"
        if entry.joint not in positions:
            text = f"is {entry.joint}, but {topic} has {', '.join(positions) or 'no joint'}."
            yield _finding(robot, ERROR, key, text)
            continue
        position = positions[entry.joint]
        limits = robot.limits.get(entry.joint)
        if not np.isfinite(position):
            yield _finding(robot, ERROR, key, f"is {entry.joint}, whose position on {topic} is {position}.")
        elif limits is not None:
            margin = _MARGIN * min(limits.upper - limits.lower, 100.0)
            if not limits.lower - margin <= position <= limits.upper + margin:
                text = (
                    f"is {entry.joint}, which {topic} has at {position:.3f}, outside its limits "
                    f"{limits.lower:g} to {limits.upper:g} {limits.unit}: another unit, or another zero."
                )
                yield _finding(robot, ERROR, key, text)


def _camera(robot: RobotDescription, index: int, camera: Camera, record: LiveRecord) -> Iterator[Finding]:
    seen = record.topics[camera.topic]
    kind = "sensor_msgs/msg/Image" if camera.transport == "raw" else "sensor_msgs/msg/CompressedImage"
    key = f"cameras[{index}].topic"
    first = list(_published(robot, key, camera.topic, kind, seen, record.seconds))
    yield from first
    if any(finding.severity == ERROR for finding in first):
        return
    yield from _rate(robot, f"cameras[{index}].rate_hz", camera.topic, camera.rate_hz, seen.arrivals_s)
    yield from _stamps(robot, key, camera.topic, seen, _IMAGES_OLD_S)
    if seen.facts.get("problem"):
        yield _finding(
            robot, ERROR, key, f"is {camera.topic}, whose images cannot be read: {seen.facts['problem']}."
        )
    size = seen.facts.get("size")
    if size is not None and size != (camera.width, camera.height):
        text = f"is [{camera.width}, {camera.height}], but {camera.topic} has [{size[0]}, {size[1]}]."
        yield _finding(robot, ERROR, f"cameras[{index}].size", text)
    frame = seen.facts.get("frame")
    if frame is not None and frame != camera.frame:
        text = f"is {camera.frame}, but the images on {camera.topic} say {frame or 'nothing'}."
        yield _finding(robot, WARNING, f"cameras[{index}].frame", text)
    info = record.topics.get(camera.info_topic)
    if info is not None and not info.publishers:
        text = f"is {camera.info_topic}, but nobody publishes it; only recordings need it."
        yield _finding(robot, WARNING, f"cameras[{index}].info_topic", text)


def _controllers(robot: RobotDescription, record: LiveRecord) -> Iterator[Finding]:
    states = record.controller_states
    for index, controller in enumerate(robot.controllers):
        key = f"controllers[{index}].name"
        seen = record.topics[controller.topic]
        state = "" if states is None else states.get(controller.name, "not loaded")
        if not seen.subscribers:
            known = f"; the controller manager says it is {state}" if state else ""
            text = f"is {controller.name}, but nobody listens on {controller.topic}{known}: start it."
            yield _finding(robot, ERROR, key, text)
        elif state not in ("", ACTIVE) and BRIDGE_NODE not in seen.subscribers:
            text = (
                f"is {controller.name}, which is {state}: ros2 control set_controller_state "
                f"{controller.name} active (loading it first where it is not loaded)."
            )
            yield _finding(robot, ERROR, key, text)
        elif "trajectory_msgs/msg/JointTrajectory" not in seen.types:
            text = f"is {controller.name}, but {controller.topic} is a {' and '.join(sorted(seen.types))}."
            yield _finding(robot, ERROR, key, text)
        elif seen.incompatible:
            node, reason = next(iter(seen.incompatible.items()))
            yield _finding(
                robot, ERROR, key, f"is {controller.name}, but {node} listens with other QoS: {reason}"
            )
