"""What a policy is trained on is what it saw: a recorded episode against the arrays of the running graph."""

import dataclasses
from array import array

import numpy as np
import pytest
from rclpy.action import ActionClient
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from dexvla_model.data.lerobot.layout import STAMP
from dexvla_model.data.lerobot.reader import DatasetReader
from dexvla_model.data.recorded_frames import RecordedFrames
from dexvla_model.streaming import CommandHistory
from dexvla_msgs.action import ExecuteTask
from dexvla_msgs.msg import ActionChunk, Observation
from dexvla_ros.bringup import GraphOptions, NodeProcess, simulated_graph
from dexvla_ros.conversion.alignment import Aligner
from dexvla_ros.conversion.bag_reader import BagReader
from dexvla_ros.conversion.convert import ConversionJob, convert_bags
from dexvla_ros.conversion.episode_topics import EpisodeTopics
from dexvla_ros.conversion.pictures import read_pictures
from dexvla_ros.messages.action_chunks import action_chunk_from_message
from dexvla_ros.messages.observations import observation_from_message
from dexvla_ros.messages.stamps import stamp_in_nanoseconds
from dexvla_ros.messages.trajectories import trajectory_from_message
from dexvla_ros.nodes.qos import COMMAND, SENSOR
from dexvla_ros.own_domain import own_domain
from dexvla_ros.recording.recorder_client import RecorderClient
from dexvla_ros.supervisor import Supervisor

pytestmark = pytest.mark.ros

PATIENCE_S = 120.0
TASK_S = 6.0
# Of the video encoding, over all frames of a camera; README and docs name it.
PSNR_DB = 30.0


class Witness:
    """Shuffles joint_states on the wire, and keeps what the nodes get to see, through the functions that they call."""

    def __init__(self, client, robot):
        self.robot = robot
        self.observations, self.image_stamps_ns, self.chunks = {}, {}, []
        self.history = CommandHistory(robot)
        self._draw = np.random.default_rng(0)
        node = client.node
        self._joints = node.create_publisher(JointState, "joint_states", SENSOR)
        node.create_subscription(JointState, "unshuffled", self._shuffle, SENSOR)
        node.create_subscription(Observation, "observation", self._on_observation, SENSOR)
        node.create_subscription(ActionChunk, "action_chunk", self._on_chunk, COMMAND)
        for controller in robot.controllers:
            node.create_subscription(
                JointTrajectory,
                controller.topic,
                lambda message, name=controller.name: self.history.add(
                    name, trajectory_from_message(message), 0.0
                ),
                COMMAND,
            )

    def _shuffle(self, message):
        order = self._draw.permutation(len(message.name))
        for field in ("position", "velocity", "effort"):
            values = getattr(message, field)
            if len(values):
                setattr(message, field, array("d", [values[i] for i in order]))
        message.name = [message.name[i] for i in order]
        self._joints.publish(message)

    def _on_observation(self, message):
        # As vlm_node hands it to the policy.
        stamp_ns = stamp_in_nanoseconds(message.header.stamp)
        self.observations[stamp_ns] = observation_from_message(self.robot, message)
        stamps_ns = [stamp_in_nanoseconds(image.header.stamp) for image in message.images]
        self.image_stamps_ns[stamp_ns] = dict(zip(message.camera_roles, stamps_ns))

    def _on_chunk(self, message):
        self.chunks.append(action_chunk_from_message(message))


@pytest.fixture(scope="module")
def recorded(robot, tmp_path_factory):
    """A witness of some seconds of a task, and the bag of them."""
    folder = tmp_path_factory.mktemp("parity")
    sim, *others = simulated_graph(GraphOptions("ur5e", "scripted"))
    graph = (
        dataclasses.replace(sim, remappings={"joint_states": "unshuffled"}),
        *others,
        NodeProcess("recorder_node", {"robot": "ur5e", "use_sim_time": True, "out": str(folder / "bags")}),
    )
    with own_domain(), Supervisor(graph, folder, use_sim_time=True) as supervisor:
        witness = Witness(supervisor.client, robot)
        supervisor.bring_up()
        client, recorder = supervisor.client, RecorderClient(supervisor.client)
        recorder.wait_until_ready()
        bag = recorder.start("put the red cube in the tray", "witness")
        goals = ActionClient(client.node, ExecuteTask, "execute_task")
        client.wait_until(goals.server_is_ready, PATIENCE_S, "the task can be given")
        sent = goals.send_goal_async(
            ExecuteTask.Goal(instruction="put the red cube in the tray", timeout_s=60.0)
        )
        client.wait_for(sent, PATIENCE_S, "the goal is answered")
        client.wait_until(lambda: len(witness.chunks) > 2, PATIENCE_S, "the robot acts")
        end_s = client.now_s() + TASK_S
        client.wait_until(lambda: client.now_s() > end_s, PATIENCE_S, "the robot has acted for a while")
        recorder.judge("success")
    return witness, bag


@pytest.fixture(scope="module")
def frames(recorded, robot):
    """The frames of the bag that the witness has observations of, with pictures, before any encoding."""
    witness, bag = recorded
    with BagReader(bag) as reader:
        topics = EpisodeTopics.find(robot, reader.types, "", bag)
        alignment = Aligner(bag, robot, topics, robot.rates.action_hz, 0.04).align(
            reader.messages(topics.all())
        )
        assert len(alignment.segments) == 1, [gap.sentence() for gap in alignment.gaps]
        pictures = list(read_pictures(reader, topics.cameras, alignment.segments[0], "model"))
    return [(frame, images) for frame, images in pictures if frame.stamp_ns in witness.observations]


def test_the_frames_are_the_observations(recorded, frames):
    witness, _ = recorded
    first_ns, last_ns = frames[0][0].stamp_ns, frames[-1][0].stamp_ns
    seen = [stamp_ns for stamp_ns in witness.observations if first_ns <= stamp_ns <= last_ns]
    assert len(frames) > 40
    assert len(frames) >= 0.95 * len(seen)


def test_states_are_equal_bit_for_bit_whatever_the_order_on_the_wire(recorded, frames):
    for frame, _ in frames:
        seen = recorded[0].observations[frame.stamp_ns].state
        assert frame.state.stamp_s == seen.stamp_s
        assert np.array_equal(frame.state.positions, seen.positions)


def test_actions_are_equal_bit_for_bit(recorded, frames):
    moved = np.ptp([frame.action for frame, _ in frames], axis=0)
    assert moved.max() > 0.1
    for frame, _ in frames:
        assert np.array_equal(frame.action, recorded[0].history.action(frame.stamp_ns / 1_000_000_000))


def test_images_and_stamps_are_equal_before_encoding(recorded, frames):
    for frame, images in frames:
        assert frame.image_stamps_ns == recorded[0].image_stamps_ns[frame.stamp_ns]
        for role, image in recorded[0].observations[frame.stamp_ns].images.items():
            assert np.array_equal(images[role], image)


def test_action_chunks_in_the_bag_are_those_that_the_policy_made(recorded):
    witness, bag = recorded
    with BagReader(bag) as reader:
        kept = {
            m.stamp_s: m
            for m in (action_chunk_from_message(b.message) for b in reader.messages(["/action_chunk"]))
        }
    common = [chunk for chunk in witness.chunks if chunk.stamp_s in kept]
    assert len(common) > 15
    for chunk in common:
        assert kept[chunk.stamp_s].joints == chunk.joints
        assert np.array_equal(kept[chunk.stamp_s].positions, chunk.positions)


def test_the_dataset_holds_the_same_and_its_video_is_close(recorded, frames, robot, tmp_path):
    witness, bag = recorded
    (report,) = convert_bags(ConversionJob((bag,), tmp_path / "out", image_size="model"), processes=1)
    assert report.result == "converted", report.reason
    # As training reads it.
    loaded = RecordedFrames(tmp_path / "out", robot, horizon=8)
    stamps_ns = DatasetReader(tmp_path / "out").columns([STAMP])[STAMP].ravel()
    numbers = [n for n, stamp_ns in enumerate(stamps_ns.tolist()) if stamp_ns in witness.observations]
    assert len(numbers) == len(frames)
    states, (chunks, _) = loaded.states_of(np.array(numbers)), loaded.chunks_of(np.array(numbers))
    pictures = loaded.images_of(np.array(numbers))
    squares = {role: [] for role in pictures}
    for row, number in enumerate(numbers):
        stamp_ns = int(stamps_ns[number])
        seen = witness.observations[stamp_ns]
        assert np.array_equal(states[row], seen.state.positions.astype(np.float32))
        assert np.array_equal(
            chunks[row, 0], witness.history.action(stamp_ns / 1_000_000_000).astype(np.float32)
        )
        for role, image in seen.images.items():
            squares[role].append(np.square(pictures[role][row].astype(float) - image).mean())
    for role, errors in squares.items():
        assert 10 * np.log10(255**2 / np.mean(errors)) > PSNR_DB, role
