"""Bags that were cut off anywhere become whole again, with all that had reached the disk."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from conftest_recording import cdr_string, read_messages
from mcap.reader import make_reader
from mcap.writer import CompressionType, Writer
from rosbags.highlevel import AnyReader

from dexvla_model.errors import UserError
from dexvla_ros.recording import mcap_repair
from dexvla_ros.recording.episode_metadata import SubStepMark, read_bag_information, read_episode_metadata
from dexvla_ros.recording.repair import find_bags, is_being_recorded, is_cut_off, repair_bag

# Written for a program of its own, which is then killed.
_RECORD_FOREVER = """
import sys, time
from pathlib import Path
from conftest_recording import FakeSource, cdr_string
from dexvla_model.robot import load_robot
from dexvla_ros.recording.bag_writer import WriterSettings
from dexvla_ros.recording.episode import EpisodeRequest
from dexvla_ros.recording.episode_recorder import EpisodeRecorder
settings = WriterSettings(disk_reserve_bytes=0)
recorder = EpisodeRecorder(Path(sys.argv[1]), load_robot("ur5e"), settings, time.time_ns, False, print)
source = FakeSource("/text")
recorder.start(EpisodeRequest("put it in", "me"), [source])
recorder.mark("align the sleeve")
number = 0
while True:
    recorder.put(source, cdr_string(f"{number:01000d}"), number, time.time_ns(), time.time_ns())
    number += 1
    if number % 50 == 0:
        print(number, time.time_ns(), flush=True)
    time.sleep(0.001)
"""


@pytest.fixture
def whole(make_writer, settings) -> Path:
    """A bag with 40 chunks."""
    written = make_writer(settings=replace(settings, flush_s=0.9, chunk_bytes=3600))
    written.put(1000)
    written.writer.drain()
    written.writer.finish(written.metadata.to_custom_data())
    return written.writer.bag


def cut(bag: Path, size: int) -> Path:
    """Make it look as if the power had failed when the file had this size."""
    (bag / "metadata.yaml").unlink()
    os.truncate(bag / "bag_0.mcap", size)
    return bag


def test_an_episode_whose_recorder_is_killed_keeps_all_but_the_last_second(tmp_path):
    here = str(Path(__file__).parent)
    process = subprocess.Popen(
        [sys.executable, "-c", _RECORD_FOREVER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": here},
    )
    for line in process.stdout:
        if int(line.split()[0]) >= 1500:
            break
    killed_ns = time.time_ns()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    (bag,) = find_bags(tmp_path)
    assert is_cut_off(bag)
    assert not is_being_recorded(bag)
    report = repair_bag(bag)
    assert not is_cut_off(bag)
    messages = read_messages(bag)
    assert [message[2] for message in messages] == list(range(len(messages)))
    assert killed_ns - messages[-1][3] < 1_000_000_000
    assert report.messages == len(messages) > 500
    assert sorted(file.name for file in bag.iterdir()) == [f"{bag.name}_0.mcap", "metadata.yaml"]
    metadata = read_episode_metadata(bag)
    assert (metadata.instruction, metadata.operator, metadata.outcome) == ("put it in", "me", "unjudged")
    assert "cut off" in metadata.ending
    assert [mark.text for mark in metadata.sub_steps] == ["align the sleeve"]
    with AnyReader([bag]) as reader:
        assert reader.message_count == len(messages)


@pytest.mark.parametrize("share", [0.999, 0.9, 0.5, 0.31, 0.1])
def test_a_file_that_ends_anywhere_keeps_its_whole_chunks(whole, share):
    before = read_messages(whole)
    size = (whole / "bag_0.mcap").stat().st_size
    report = repair_bag(cut(whole, int(size * share)))
    kept = read_messages(whole)
    assert kept == before[: len(kept)]
    # All but what stood in the one chunk that was cut, and in what came after it.
    assert len(kept) >= int(len(before) * (share - 0.1)) - 50
    assert report.rewritten
    assert read_bag_information(whole)["message_count"] == len(kept) == report.messages


def test_zeros_and_garbage_at_the_end_are_no_messages(whole, metadata):
    before = read_messages(whole)
    cut(whole, (whole / "bag_0.mcap").stat().st_size // 2)
    intact = read_messages_after_repair(whole)
    for tail in (b"\0" * 100_000, os.urandom(100_000), b"\x06" + (2**40).to_bytes(8, "little") + b"x" * 50):
        with (whole / "bag_0.mcap").open("r+b") as file:
            file.seek(-60, os.SEEK_END)
            file.truncate()
            file.seek(0, os.SEEK_END)
            file.write(tail)
        assert is_cut_off(whole)
        assert read_messages_after_repair(whole) == intact == before[: len(intact)]


def read_messages_after_repair(bag: Path) -> list:
    repair_bag(bag)
    return read_messages(bag)


def test_a_damaged_chunk_ends_what_is_kept(whole):
    before = read_messages(whole)
    file = whole / "bag_0.mcap"
    with file.open("rb") as stream:
        chunk = make_reader(stream).get_summary().chunk_indexes[20]
    content = bytearray(file.read_bytes())
    content[chunk.chunk_start_offset + chunk.chunk_length - 20] ^= 0xFF
    file.write_bytes(bytes(content[:-8]))
    (whole / "metadata.yaml").unlink()
    report = repair_bag(whole)
    kept = read_messages(whole)
    assert kept == before[: len(kept)]
    assert 0 < len(kept) < len(before)
    assert report.lost_bytes > 0
    assert str(report.lost_bytes) in report.sentence()


def test_only_metadata_yaml_missing_leaves_the_file_as_it_is(whole, metadata):
    content = (whole / "bag_0.mcap").read_bytes()
    information = read_bag_information(whole)
    (whole / "metadata.yaml").unlink()
    report = repair_bag(whole)
    assert not report.rewritten
    assert report.lost_bytes == 0
    assert (whole / "bag_0.mcap").read_bytes() == content
    repaired = read_bag_information(whole)
    assert {**repaired, "custom_data": None} == {**information, "custom_data": None}


def test_the_original_stays_when_the_disk_has_no_room_for_the_copy(whole, monkeypatch):
    cut(whole, 5000)
    content = (whole / "bag_0.mcap").read_bytes()

    def fails(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mcap_repair, "_copy_records", fails)
    with pytest.raises(UserError, match="No space left on device.*the file is as it was"):
        repair_bag(whole)
    assert (whole / "bag_0.mcap").read_bytes() == content
    assert [file.name for file in whole.iterdir()] == ["bag_0.mcap"]


def test_a_bag_that_is_being_recorded_is_left_alone(make_writer):
    written = make_writer()
    written.put(10)
    assert is_being_recorded(written.writer.bag)
    with pytest.raises(UserError, match="is being recorded"):
        repair_bag(written.writer.bag)
    written.writer.drain()
    written.writer.finish(written.metadata.to_custom_data())
    assert not is_being_recorded(written.writer.bag)


def test_the_newest_metadata_in_the_file_count(make_writer):
    written = make_writer()
    marked = replace(written.metadata, sub_steps=(SubStepMark(5, "reach"), SubStepMark(9, "grasp")))
    written.writer.put_metadata(marked.to_custom_data())
    written.put(5)
    written.writer.drain()
    written.writer._file.close()
    repair_bag(written.writer.bag)
    metadata = read_episode_metadata(written.writer.bag)
    assert [mark.text for mark in metadata.sub_steps] == ["reach", "grasp"]
    assert metadata.ended_ns == 1004


@pytest.mark.parametrize("compression", list(CompressionType))
@pytest.mark.parametrize("chunked", [True, False])
def test_bags_of_other_recorders_are_repaired_too(tmp_path, compression, chunked):
    folder = tmp_path / "foreign"
    folder.mkdir()
    file = folder / "foreign_0.mcap"
    with file.open("wb") as stream:
        writer = Writer(stream, chunk_size=500, compression=compression, use_chunking=chunked)
        writer.start("ros2", "libmcap 1.0")
        schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data\n")
        channel = writer.register_channel("/text", "cdr", schema, {"offered_qos_profiles": "- {depth: 1}"})
        for number in range(100):
            writer.add_message(channel, number, cdr_string(f"text {number}"), number + 1)
        writer.finish()
    os.truncate(file, int(file.stat().st_size * 0.4))
    report = repair_bag(folder)
    messages = read_messages(folder)
    assert len(messages) == report.messages > 10
    assert [message[1] for message in messages] == [cdr_string(f"text {n}") for n in range(len(messages))]
    assert read_episode_metadata(folder) is None
    assert read_bag_information(folder)["topics_with_message_count"][0]["message_count"] == len(messages)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04" + bytes(1000)])
def test_a_file_that_is_no_mcap_is_refused_and_stays(tmp_path, content):
    (tmp_path / "x.mcap").write_bytes(content)
    with pytest.raises(UserError, match="no MCAP file"):
        repair_bag(tmp_path)
    assert (tmp_path / "x.mcap").read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == ["x.mcap"]


def test_bags_are_found_by_file_by_folder_and_by_the_folder_of_folders(whole, tmp_path):
    assert find_bags(whole / "bag_0.mcap") == find_bags(whole) == find_bags(tmp_path) == [whole]
    with pytest.raises(UserError, match="no bag here"):
        find_bags(tmp_path / "nowhere")
