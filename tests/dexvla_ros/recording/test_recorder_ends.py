"""Ends of an episode that nobody wanted: a killed recorder, one that is told to end, a full disk."""

import os
import signal
import subprocess
import time
from array import array
from pathlib import Path

import pytest
from conftest_recording import read_messages
from robot_stand_in import PATIENCE_S, Robot, bytes_by_topic, recorder_process
from sensor_msgs.msg import Image

from dexvla_ros.own_domain import own_domain
from dexvla_ros.recording.episode_metadata import read_bag_information, read_episode_metadata
from dexvla_ros.recording.recorder_client import RecorderClient
from dexvla_ros.supervisor import Supervisor

pytestmark = pytest.mark.ros


@pytest.fixture(autouse=True)
def domain():
    with own_domain():
        yield


def record_a_little(supervisor, rounds=20) -> tuple[Robot, Path]:
    robot = Robot(supervisor.client, RecorderClient(supervisor.client))
    path = robot.start()
    robot.publish_all(rounds)
    robot.wait_until_received()
    return robot, path


def test_a_killed_recorder_costs_nothing_older_than_a_second_and_the_next_one_repairs(tmp_path):
    out = tmp_path / "out"
    with Supervisor([recorder_process(out)], tmp_path / "logs", False) as supervisor:
        supervisor.bring_up()
        robot, bag = record_a_little(supervisor)
        deadline_s = time.monotonic() + 1.0
        while time.monotonic() < deadline_s:
            supervisor.client.turn()
        sent = robot.sent
        robot.close()
        os.kill(supervisor.processes.pid("recorder_node"), signal.SIGKILL)
    assert not (bag / "metadata.yaml").exists()
    with Supervisor([recorder_process(out)], tmp_path / "logs", False) as supervisor:
        supervisor.bring_up()
    found = bytes_by_topic(bag)
    assert {name: found[name] for name in sent} == sent
    metadata = read_episode_metadata(bag)
    assert (metadata.instruction, metadata.outcome) == ("put it in", "unjudged")


def test_a_recorder_that_is_told_to_end_finishes_the_episode(tmp_path):
    with Supervisor([recorder_process(tmp_path / "out")], tmp_path / "logs", False) as supervisor:
        supervisor.bring_up()
        robot, bag = record_a_little(supervisor)
        robot.close()
    assert not supervisor.processes.any_killed
    metadata = read_episode_metadata(bag)
    assert (metadata.outcome, metadata.ending) == ("unjudged", "The recorder was shut down.")
    assert read_bag_information(bag)["message_count"] > 50


@pytest.fixture
def small_disk(tmp_path):
    """A filesystem of 40 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting needs to be root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(("reserve_gb", "words"), [(0.015, "make room"), (0.0, "No space left on device")])
def test_a_full_disk_ends_the_recording_and_the_operator_is_told(
    tmp_path, small_disk, reserve_gb, words
):
    node = recorder_process(small_disk, disk_reserve_gb=reserve_gb, compression_level=-50)
    with Supervisor([node], tmp_path / "logs", False) as supervisor:
        supervisor.bring_up()
        robot, bag = record_a_little(supervisor, rounds=1)
        big = Image(height=1000, width=1000, encoding="rgb8", step=3000)
        deadline_s = time.monotonic() + PATIENCE_S
        while robot.recorder.recording and time.monotonic() < deadline_s:
            big.data = array("B", os.urandom(1_000_000))
            robot.publish(list(robot.publishers)[1], big)
        robot.wait_until(lambda: words in robot.recorder.status.warning)
        robot.close()
        log = supervisor.processes.log("recorder_node").read_text()
    assert words in log
    found = bytes_by_topic(bag)["/cameras/scene/image_raw"]
    assert 5 <= len(found) < len(robot.sent["/cameras/scene/image_raw"]) + 1
    assert found == robot.sent["/cameras/scene/image_raw"][: len(found)]
    metadata = read_episode_metadata(bag)
    assert metadata.outcome == "unjudged"
    assert words in metadata.ending
    assert read_bag_information(bag)["message_count"] == len(read_messages(bag))
