"""Looks at the running graph for some seconds: what there is on the topics of a robot file."""

from functools import partial
from importlib import import_module
from time import monotonic

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.qos import QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible
from sensor_msgs.msg import CompressedImage, Image, JointState

from dexvla_model.errors import UserError
from dexvla_model.robot import RobotDescription
from dexvla_model.robot.check import Finding
from dexvla_ros.graph_client import GraphClient, GraphError
from dexvla_ros.live_findings import LiveRecord, TopicRecord, live_findings
from dexvla_ros.messages.images import compressed_from_message, image_from_message
from dexvla_ros.messages.stamps import stamp_from_message
from dexvla_ros.nodes.qos import COMMAND, DIAGNOSTICS, SENSOR

# As SENSOR, but nothing is lost while this program is busy.
_PATIENT = QoSProfile(depth=500, reliability=ReliabilityPolicy.BEST_EFFORT)
_TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"
# Nodes that listen on the controllers' topics to hear each other; none of them is a controller.
_STREAMERS = ("action_node", "teleop_node", "motion_node")
_DISCOVERY_S = 3.0
_SERVICE_TIMEOUT_S = 5.0


def check_live(robot: RobotDescription, seconds: float) -> list[Finding]:
    """Findings of the running graph, after looking at it for `seconds` of real time.

    Raises:
        UserError: there is no graph in this ROS domain.
    """
    record = _record(robot, seconds)
    # Raised only when no node is left: one that a traceback holds hangs the interpreter at its end.
    if record is None:
        raise UserError(
            "No node publishes joint_states in this ROS domain: start the robot first, with the same "
            "ROS_DOMAIN_ID (dexvla run --sim, or the bringup)."
        )
    return live_findings(robot, record)


def _record(robot: RobotDescription, seconds: float) -> LiveRecord | None:
    """What there is to be seen; None without a graph."""
    client = GraphClient("dexvla_check", False)
    try:
        simulated = _wait_for_publishers(client)
        if simulated:
            client.close()
            client = GraphClient("dexvla_check", True)
        return None if simulated is None else _watch(client, client.node, robot, seconds)
    finally:
        client.close()


def _wait_for_publishers(client: GraphClient) -> bool | None:
    """Whether somebody publishes /clock; None where nobody publishes joint_states either."""
    end_s = monotonic() + _DISCOVERY_S
    while monotonic() < end_s:
        client.turn()
        # A moment more, for /clock of the same graph.
        if client.node.count_publishers("joint_states"):
            end_s = min(end_s, monotonic() + 0.5)
    clock, joints = client.node.count_publishers("/clock"), client.node.count_publishers("joint_states")
    topics = [
        name
        for name, _ in client.node.get_topic_names_and_types()
        if name not in ("/rosout", "/parameter_events")
    ]
    return bool(clock) if joints or topics else None


def _watch(client: GraphClient, node, robot: RobotDescription, seconds: float) -> LiveRecord:
    topics: dict[str, TopicRecord] = {"joint_states": TopicRecord()}
    subscriptions = [
        node.create_subscription(
            JointState, "joint_states", partial(_on_joints, client, topics["joint_states"]), _PATIENT
        )
    ]
    for camera in robot.cameras:
        record = topics[camera.topic] = TopicRecord()
        topics[camera.info_topic] = TopicRecord()
        kind = Image if camera.transport == "raw" else CompressedImage
        subscriptions.append(
            node.create_subscription(kind, camera.topic, partial(_on_image, client, record), _PATIENT)
        )
    for controller in robot.controllers:
        topics[controller.topic] = TopicRecord()
    errors: dict[str, str] = {}
    subscriptions.append(
        node.create_subscription(
            DiagnosticArray, "/diagnostics", partial(_on_diagnostics, errors), DIAGNOSTICS
        )
    )
    end_s = monotonic() + seconds
    while monotonic() < end_s:
        client.turn()
    for topic, record in topics.items():
        _look_at_ends(node, topic, record, wanted=SENSOR, offered=COMMAND)
    states = _controller_states(client)
    for subscription in subscriptions:
        node.destroy_subscription(subscription)
    return LiveRecord(seconds, topics, states, errors)


def _look_at_ends(node, topic: str, record: TopicRecord, wanted: QoSProfile, offered: QoSProfile) -> None:
    for info in node.get_publishers_info_by_topic(topic):
        if info.node_name == node.get_name():
            continue
        record.publishers.append(info.node_name)
        record.types.add(info.topic_type)
        fits, reason = qos_check_compatible(_essential(info.qos_profile), wanted)
        if fits == QoSCompatibility.ERROR:
            record.incompatible[info.node_name] = reason
    for info in node.get_subscriptions_info_by_topic(topic):
        if info.node_name in (node.get_name(), "recorder_node", *_STREAMERS):
            continue
        record.subscribers.append(info.node_name)
        record.types.add(info.topic_type)
        if info.topic_type == _TRAJECTORY:
            fits, reason = qos_check_compatible(offered, _essential(info.qos_profile))
            if fits == QoSCompatibility.ERROR:
                record.incompatible[info.node_name] = reason


def _essential(profile: QoSProfile) -> QoSProfile:
    """Reliability and durability: discovery gives infinite times for those that nobody has set."""
    return QoSProfile(depth=1, reliability=profile.reliability, durability=profile.durability)


def _controller_states(client: GraphClient) -> dict[str, str] | None:
    """The controllers' states, where there is a controller manager and its messages are installed."""
    try:
        kind = import_module("controller_manager_msgs.srv").ListControllers
    except ImportError:
        return None
    service = "controller_manager/list_controllers"
    if not any(name == f"/{service}" for name, _ in client.node.get_service_names_and_types()):
        return None
    try:
        answer = client.call(kind, service, kind.Request(), _SERVICE_TIMEOUT_S)
    except GraphError:
        return None
    return {controller.name: controller.state for controller in answer.controller}


def _note(client: GraphClient, record: TopicRecord, message) -> None:
    now_s = client.now_s()
    if now_s == 0.0:
        return  # /clock has not come yet
    record.arrivals_s.append(now_s)
    record.stamps_s.append(stamp_from_message(message.header.stamp))


def _on_joints(client: GraphClient, record: TopicRecord, message: JointState) -> None:
    _note(client, record, message)
    record.facts.setdefault("positions", {}).update(zip(message.name, message.position))


def _on_image(client: GraphClient, record: TopicRecord, message: Image | CompressedImage) -> None:
    _note(client, record, message)
    if "frame" in record.facts:
        return
    record.facts["frame"] = message.header.frame_id
    try:
        read = image_from_message if isinstance(message, Image) else compressed_from_message
        height, width = read(message).shape[:2]
        record.facts["size"] = (width, height)
    except Exception as error:  # whatever a driver sends: it is a finding
        record.facts["problem"] = str(error).rstrip(".") or type(error).__name__


def _on_diagnostics(errors: dict[str, str], message: DiagnosticArray) -> None:
    for status in message.status:
        if status.level == DiagnosticStatus.ERROR:
            errors[status.name] = status.message.rstrip(".")
        else:
            errors.pop(status.name, None)
