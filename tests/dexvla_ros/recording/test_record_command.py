"""`dexvla record` without a terminal: help, mistakes, repair, episodes by options and of a demonstrator."""

import json
import os
import subprocess
import sys

import pytest

from dexvla_ros.recording.episode_metadata import read_bag_information, read_episode_metadata
from dexvla_ros.recording.repair import is_cut_off


def dexvla(*arguments: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if name != "ROS_DOMAIN_ID"}
    return subprocess.run(
        [sys.executable, "-m", "dexvla_ros.cli.main", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
        env={**environment, "COLUMNS": "120"},
    )


def test_help_names_the_keys_and_the_repair():
    text = dexvla("record", "--help").stdout
    for words in ("--repair", "--sub-step", "--demo", "enter"):
        assert words in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--robot", "nope", "--instruction", "x"], ["'nope'", "ur5e"]),
        (["--out", "/dev/null/x", "--instruction", "x"], ["--out /dev/null/x"]),
        (["--pattern", "[", "--instruction", "x"], ["--pattern", "regular expression"]),
        (["--outcome", "great", "--instruction", "x"], ["'great'", "success, failure, unjudged"]),
        (["--config", "/nowhere.yaml", "--instruction", "x"], ["/nowhere.yaml"]),
        ([], ["--instruction is missing"]),
        (["--repair", "/nowhere"], ["/nowhere", "no bag here"]),
        (["--demo", "/nowhere/checkpoint"], ["/nowhere/checkpoint"]),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = dexvla("record", *arguments)
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    for word in words:
        assert word in result.stderr


def test_repair_makes_bags_whole_and_says_so(make_writer, tmp_path):
    written = make_writer("cut")
    written.put(100)
    written.writer.drain()
    written.writer._file.close()
    whole = make_writer("whole")
    whole.writer.drain()
    whole.writer.finish(whole.metadata.to_custom_data())
    result = dexvla("record", "--repair", str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert "cut: repaired; 100 messages" in result.stdout
    assert "whole: whole, nothing to do." in result.stdout
    assert not is_cut_off(tmp_path / "cut")


@pytest.mark.ros
def test_episodes_by_options_are_a_json_line_each(tmp_path):
    result = dexvla(
        *("record", "--sim", "--out", str(tmp_path / "out"), "--output", str(tmp_path / "logs")),
        *("--instruction", "stand still", "--operator", "me", "--tag", "a", "--tag", "b"),
        *("--duration", "1.5", "--episodes", "2", "--outcome", "failure"),
    )
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [os.path.basename(line["path"]) for line in lines] == ["episode_000000", "episode_000001"]
    for line in lines:
        metadata = read_episode_metadata(tmp_path / "out" / os.path.basename(line["path"]))
        assert (metadata.outcome, metadata.operator, metadata.tags) == ("failure", "me", ("a", "b"))
        assert metadata.sim_time is True
        assert line["messages"] > 50


@pytest.mark.ros
def test_a_demonstrator_records_through_the_same_door(tmp_path):
    result = dexvla(
        *("record", "--demo", "scripted", "--seed", "3", "--out", str(tmp_path / "out")),
        *("--output", str(tmp_path / "logs"), "--operator", "a script"),
    )
    assert result.returncode == 0, result.stderr
    episode = json.loads(result.stdout.splitlines()[-1])
    bag = tmp_path / "out" / "episode_000000"
    metadata = read_episode_metadata(bag)
    assert metadata.outcome == "success"
    assert metadata.operator == "a script"
    assert [mark.text for mark in metadata.sub_steps] == episode["sub_steps"]
    counts = {
        topic["topic_metadata"]["name"]: topic["message_count"]
        for topic in read_bag_information(bag)["topics_with_message_count"]
    }
    for name in ("/joint_states", "/cameras/scene/image_raw", "/substep", "/action_chunk", "/observation"):
        assert counts[name] > 10
    assert counts["/joint_trajectory_controller/joint_trajectory"] > 10
    assert counts["/recorder/sub_step"] == len(metadata.sub_steps)


@pytest.mark.ros
def test_the_benchmark_records_without_drops_and_measures():
    from dexvla_ros.recording.benchmark import benchmark_recording

    report = benchmark_recording(2.0, cameras=1, size=(160, 120), camera_hz=10.0, joint_state_hz=50.0)
    assert report.drops == 0
    assert report.messages > 80
    assert report.rates_hz["/joint_states"] == pytest.approx(50.0, rel=0.3)
    assert 0.0 < report.cpu_share < 2.0
