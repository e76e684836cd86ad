"""recorder_node over DDS: every byte, every kind of publisher, every way in which an episode ends."""

import time
from pathlib import Path

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from conftest_recording import read_messages
from rclpy.action import ActionClient
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from robot_stand_in import PATIENCE_S, Robot, bytes_by_topic, recorder_process
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64, String

from dexvla_msgs.action import RecordEpisode
from dexvla_msgs.msg import SubStepMark
from dexvla_ros.graph_client import GraphError
from dexvla_ros.messages.stamps import stamp_in_nanoseconds
from dexvla_ros.nodes.qos import COMMAND, LATCHED, SENSOR
from dexvla_ros.own_domain import own_domain
from dexvla_ros.recording.episode_metadata import read_bag_information, read_episode_metadata
from dexvla_ros.recording.recorder_client import RecorderClient
from dexvla_ros.supervisor import Supervisor

pytestmark = pytest.mark.ros

@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recorder")
    node = recorder_process(folder / "out", topic_pattern="/extra/.*")
    with own_domain(), Supervisor([node], folder / "logs", use_sim_time=False) as supervisor:
        supervisor.bring_up()
        yield supervisor, RecorderClient(supervisor.client)
    assert not supervisor.processes.any_killed


@pytest.fixture
def robot_(graph):
    supervisor, recorder = graph
    robot = Robot(supervisor.client, recorder)
    yield robot
    robot.wait_until(lambda: recorder.status is not None)
    if recorder.recording:
        recorder.judge("discarded")
        robot.wait_until(lambda: not recorder.recording)
    robot.close()


def test_every_byte_is_kept_also_of_messages_that_make_no_sense(robot_):
    bag = robot_.start()
    robot_.publish_all(20)
    # (Sizes are multiples of four: RTPS fills the last word.) An image that says it is large and is not,
    # and joint states with names but no values.
    joints, scene, _ = robot_.publishers
    robot_.publish(scene, Image(height=480, width=640, encoding="nonsense", data=b"wxyz"))
    robot_.publish(joints, JointState(name=["a"] * 3, position=[np.inf, np.nan]))
    robot_.wait_until_received()
    assert robot_.recorder.judge("success") == str(bag)
    found = bytes_by_topic(bag)
    for name, messages in robot_.sent.items():
        assert found[name] == messages
    assert read_episode_metadata(bag).drops == {}


def test_rosbags_decodes_the_bag_with_nothing_but_what_is_in_it(robot_):
    bag = robot_.start()
    joints = next(iter(robot_.publishers))
    robot_.publish(joints, JointState(name=["a", "b"], position=[1.0, np.nan]), serialised=False)
    robot_.wait_until(lambda: robot_.count("/instruction") == robot_.count("/joint_states") == 1)
    robot_.recorder.judge("success")
    with AnyReader([bag]) as reader:
        decoded = {}
        for connection, _, data in reader.messages():
            decoded.setdefault(connection.topic, []).append(reader.deserialize(data, connection.msgtype))
    assert decoded["/joint_states"][0].name == ["a", "b"]
    assert np.isnan(decoded["/joint_states"][0].position[1])
    assert decoded["/instruction"][0].data == "put it in"


def test_times_are_those_of_the_wire(robot_):
    before_ns = time.time_ns()
    bag = robot_.start()
    robot_.publish_all(3)
    robot_.wait_until_received()
    robot_.recorder.judge("success")
    for topic, _, sequence, log_ns, publish_ns in read_messages(bag):
        if topic == "/joint_states":
            assert before_ns < publish_ns <= log_ns < time.time_ns()
            assert sequence > 0
    metadata = read_episode_metadata(bag)
    assert before_ns < metadata.started_ns < metadata.ended_ns < time.time_ns()
    assert metadata.sim_time is False


def test_latched_messages_stand_in_every_episode_once(robot_):
    latched = robot_.advertise(String, "extra/latched", LATCHED)
    robot_.publish(latched, String(data="the same for all"))
    robot_.wait_for_topic("/extra/latched")
    for _ in range(2):
        bag = robot_.start()
        robot_.wait_until(lambda: robot_.count("/extra/latched") and robot_.count("/instruction"))
        robot_.recorder.judge("success")
        messages = bytes_by_topic(bag)["/extra/latched"]
        assert [deserialize_message(data, String).data for data in messages] == ["the same for all"]
        assert len(bytes_by_topic(bag)["/instruction"]) == 1


@pytest.mark.parametrize("reliable", [True, False])
def test_a_topic_that_appears_in_the_middle_is_recorded_as_it_is_offered(robot_, reliable):
    name = f"extra/late_{reliable}"
    bag = robot_.start()
    robot_.publish_all(2)
    policy = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
    late = robot_.advertise(Float64, name, QoSProfile(depth=5, reliability=policy))
    robot_.wait_for_topic(f"/{name}")
    robot_.wait_until(lambda: robot_.publishers[late].get_subscription_count() > 0)
    for number in range(10):
        robot_.publish(late, Float64(data=float(number)))
    robot_.wait_until_received()
    robot_.recorder.judge("success")
    assert bytes_by_topic(bag)[f"/{name}"] == robot_.sent[f"/{name}"]
    topics = read_bag_information(bag)["topics_with_message_count"]
    (entry,) = (topic for topic in topics if topic["topic_metadata"]["name"] == f"/{name}")
    (profile,) = entry["topic_metadata"]["offered_qos_profiles"]
    assert profile["reliability"] == ("reliable" if reliable else "best_effort")
    assert entry["topic_metadata"]["type_description_hash"].startswith("RIHS01_")


def test_two_publishers_of_different_reliability_are_both_heard_and_nothing_counts_as_lost(robot_):
    first = robot_.advertise(Float64, "extra/two", COMMAND)
    robot_.wait_for_topic("/extra/two")
    second = robot_.advertise(Float64, "extra/two", SENSOR)
    robot_.wait_until(lambda: robot_.publishers[second].get_subscription_count() > 0)
    bag = robot_.start()
    for number in range(20):
        robot_.publish(first if number % 3 else second, Float64(data=float(number)))
    robot_.wait_until_received()
    robot_.recorder.judge("success")
    assert sorted(bytes_by_topic(bag)["/extra/two"]) == sorted(robot_.sent["/extra/two"])
    assert read_episode_metadata(bag).drops == {}


def test_marks_are_messages_and_metadata_with_their_stamp(robot_):
    marks = []
    node = robot_.client.node
    subscription = node.create_subscription(SubStepMark, "recorder/sub_step", marks.append, COMMAND)
    robot_.wait_until(lambda: node.count_publishers("recorder/sub_step") > 0)
    robot_.wait_for_topic("/recorder/sub_step")
    bag = robot_.start(operator="me", tags=["day 1"])
    robot_.recorder.mark("reach the cube")
    robot_.recorder.mark("align the sleeve", 123_456_789_012)
    robot_.wait_until(lambda: len(marks) == 2 and robot_.recorder.status.sub_step)
    robot_.recorder.judge("failure")
    metadata = read_episode_metadata(bag)
    assert [mark.text for mark in metadata.sub_steps] == ["align the sleeve", "reach the cube"]
    assert metadata.sub_steps[0].time_ns == 123_456_789_012
    assert stamp_in_nanoseconds(marks[0].header.stamp) == metadata.sub_steps[1].time_ns
    recorded = [deserialize_message(d, SubStepMark) for d in bytes_by_topic(bag)["/recorder/sub_step"]]
    assert [message.text for message in recorded] == ["reach the cube", "align the sleeve"]
    assert (metadata.outcome, metadata.operator, metadata.tags) == ("failure", "me", ("day 1",))
    node.destroy_subscription(subscription)


def test_a_discarded_episode_is_gone_and_one_without_verdict_is_kept(robot_):
    bag = robot_.start()
    assert robot_.recorder.judge("discarded") == "deleted"
    assert not bag.exists()
    again = robot_.start(instruction="")
    assert again == bag
    robot_.recorder.judge("unjudged")
    metadata = read_episode_metadata(bag)
    assert (metadata.outcome, metadata.instruction) == ("unjudged", "put it in")


def test_what_cannot_be_done_is_refused_with_a_sentence(robot_):
    with pytest.raises(GraphError, match="No episode is being recorded"):
        robot_.recorder.judge("success")
    with pytest.raises(GraphError, match="No episode is being recorded"):
        robot_.recorder.mark("nothing")
    robot_.start()
    with pytest.raises(GraphError, match="is being recorded; end it first"):
        robot_.recorder.start("again")


def test_without_a_camera_nothing_is_recorded_and_the_camera_is_named(robot_):
    wrist = next(key for key in robot_.publishers if key.startswith("cameras/wrist"))
    robot_.recorder.wait_until_ready()
    robot_.client.node.destroy_publisher(robot_.publishers.pop(wrist))
    robot_.wait_until(lambda: "nobody publishes /cameras/wrist" in robot_.recorder.status.warning)
    with pytest.raises(GraphError, match="nobody publishes /cameras/wrist/image_raw; start its driver"):
        robot_.recorder.start("put it in")


# The action


@pytest.fixture(scope="module")
def goals(graph):
    supervisor, _ = graph
    client = ActionClient(supervisor.client.node, RecordEpisode, "record_episode")
    supervisor.client.wait_until(client.server_is_ready, PATIENCE_S, "the action is there")
    return client


def send(robot, goals, feedback, **goal):
    robot.recorder.wait_until_ready()
    sent = goals.send_goal_async(
        RecordEpisode.Goal(**goal), feedback_callback=lambda message: feedback.append(message.feedback)
    )
    return robot.client.wait_for(sent, PATIENCE_S, "the goal is answered")


def test_a_goal_is_an_episode_with_feedback_and_result(robot_, goals):
    feedback = []
    handle = send(robot_, goals, feedback, instruction="by action", operator_name="me", tags=["x"])
    assert handle.accepted
    robot_.wait_until(lambda: robot_.recorder.recording)
    robot_.sent.clear()
    robot_.publish_all(10)
    robot_.wait_until_received()
    robot_.wait_until(lambda: feedback and sum(topic.messages for topic in feedback[-1].topics) >= 30)
    robot_.recorder.judge("success")
    response = robot_.client.wait_for(handle.get_result_async(), PATIENCE_S, "the goal ends")
    assert response.status == GoalStatus.STATUS_SUCCEEDED
    result = response.result
    assert result.outcome == "success"
    counts = {topic.name: (topic.messages, topic.bytes, topic.drops) for topic in result.topics}
    size = sum(map(len, robot_.sent["/joint_states"]))
    assert counts["/joint_states"] == (10, size, 0)
    information = read_bag_information(Path(result.path))
    assert information["message_count"] == sum(topic.messages for topic in result.topics)
    assert result.duration_s == pytest.approx(information["duration"]["nanoseconds"] / 1e9)
    assert [topic.name for topic in feedback[-1].topics if topic.nominal_hz] != []
    metadata = read_episode_metadata(Path(result.path))
    assert (metadata.instruction, metadata.operator, metadata.tags) == ("by action", "me", ("x",))


def test_a_cancelled_goal_keeps_the_episode_without_a_verdict(robot_, goals):
    handle = send(robot_, goals, [], instruction="by action")
    robot_.wait_until(lambda: robot_.recorder.recording)
    robot_.client.wait_for(handle.cancel_goal_async(), PATIENCE_S, "the cancellation is answered")
    response = robot_.client.wait_for(handle.get_result_async(), PATIENCE_S, "the goal ends")
    assert response.status == GoalStatus.STATUS_CANCELED
    assert read_episode_metadata(Path(response.result.path)).ending == "The goal was cancelled."


def test_a_second_goal_is_refused_and_one_that_cannot_begin_says_why(robot_, goals):
    first = send(robot_, goals, [], instruction="by action")
    robot_.wait_until(lambda: robot_.recorder.recording)
    assert not send(robot_, goals, [], instruction="another").accepted
    robot_.recorder.judge("discarded")
    result = robot_.client.wait_for(first.get_result_async(), PATIENCE_S, "the goal ends").result
    assert (result.outcome, result.path) == ("discarded", "")
    robot_.client.node.destroy_publisher(robot_.publishers.pop(next(iter(robot_.publishers))))
    robot_.wait_until(lambda: "nobody publishes" in robot_.recorder.status.warning)
    sent = goals.send_goal_async(RecordEpisode.Goal(instruction="no joints"))
    handle = robot_.client.wait_for(sent, PATIENCE_S, "the goal is answered")
    response = robot_.client.wait_for(handle.get_result_async(), PATIENCE_S, "the goal ends")
    assert response.status == GoalStatus.STATUS_ABORTED
    assert "/joint_states" in response.result.message


def test_the_recorder_adapts_when_a_latched_publisher_is_joined_by_another_kind(robot_):
    latched = robot_.advertise(String, "extra/changing", LATCHED)
    robot_.publish(latched, String(data="old"))
    robot_.wait_for_topic("/extra/changing")
    other = robot_.advertise(String, "extra/changing", SENSOR)
    robot_.wait_until(lambda: robot_.publishers[other].get_subscription_count() > 0)
    bag = robot_.start()
    robot_.publish(other, String(data="new"))
    robot_.publish(latched, String(data="newer"))
    robot_.wait_until_received()
    robot_.recorder.judge("success")
    texts = [deserialize_message(data, String).data for data in bytes_by_topic(bag)["/extra/changing"]]
    assert texts == ["new", "newer"]
