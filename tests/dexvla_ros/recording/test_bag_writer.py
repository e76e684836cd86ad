"""Bags that any reader opens, written beside the one who hands messages over, on disks that fill up."""

import errno
import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from conftest_recording import FakeSource, cdr_string, read_messages
from mcap.reader import make_reader
from rosbags.highlevel import AnyReader

from dexvla_ros.recording.append_file import BLOCK, AppendFile
from dexvla_ros.recording.bag_writer import BagWriter
from dexvla_ros.recording.episode_metadata import read_bag_information, read_episode_metadata


def finish(written) -> Path:
    written.writer.drain()
    written.writer.finish(written.metadata.to_custom_data())
    return written.writer.bag


def test_an_mcap_reader_gets_every_byte_back(make_writer):
    written = make_writer()
    written.put(1000)
    bag = finish(written)
    expected = [
        ("/text", data, number, 1000 + number, 2000 + number) for number, data in enumerate(written.messages)
    ]
    assert read_messages(bag) == expected


def test_rosbags_opens_it_and_decodes_from_the_definitions_inside(make_writer):
    written = make_writer()
    written.put(20)
    bag = finish(written)
    with AnyReader([bag]) as reader:
        assert [connection.msgtype for connection in reader.connections] == ["std_msgs/msg/String"]
        texts = [
            reader.deserialize(data, connection.msgtype).data for connection, _, data in reader.messages()
        ]
    assert texts == [f"{number:0100d}" for number in range(20)]


def test_metadata_yaml_says_what_is_in_the_file(make_writer, metadata):
    written = make_writer()
    written.put(20)
    bag = finish(written)
    information = read_bag_information(bag)
    assert (information["version"], information["storage_identifier"]) == (9, "mcap")
    assert information["relative_file_paths"] == ["bag_0.mcap"]
    assert information["message_count"] == 20
    assert information["starting_time"]["nanoseconds_since_epoch"] == 1000
    assert information["duration"]["nanoseconds"] == 19
    (topic,) = information["topics_with_message_count"]
    assert (topic["topic_metadata"]["name"], topic["message_count"]) == ("/text", 20)
    assert read_episode_metadata(bag) == metadata
    assert sorted(file.name for file in bag.iterdir()) == ["bag_0.mcap", "metadata.yaml"]


def test_chunks_are_zstd_and_carry_a_checksum(make_writer):
    written = make_writer()
    written.put(100)
    bag = finish(written)
    with (bag / "bag_0.mcap").open("rb") as stream:
        (index,) = make_reader(stream).get_summary().chunk_indexes
        content = (bag / "bag_0.mcap").read_bytes()
    assert index.compression == "zstd"
    chunk = content[index.chunk_start_offset : index.chunk_start_offset + index.chunk_length]
    frame = chunk[chunk.index(zstandard.FRAME_HEADER) :]
    assert zstandard.get_frame_parameters(frame).has_checksum
    damaged = bytearray(frame)
    damaged[len(frame) // 2] ^= 1
    with pytest.raises(zstandard.ZstdError):
        zstandard.ZstdDecompressor().decompress(bytes(damaged))


def test_a_bag_without_messages_is_whole_and_empty(make_writer):
    bag = finish(make_writer())
    assert read_messages(bag) == []
    assert read_bag_information(bag)["message_count"] == 0


def test_messages_that_come_with_an_earlier_time_are_found_by_time(make_writer):
    written = make_writer()
    for log_ns in (50, 40, 60, 10):
        written.writer.put(0, 0, log_ns, log_ns, cdr_string(str(log_ns)))
    bag = finish(written)
    assert [message[3] for message in read_messages(bag)] == [10, 40, 50, 60]
    assert read_bag_information(bag)["starting_time"]["nanoseconds_since_epoch"] == 10


def test_a_topic_may_appear_late(make_writer):
    written = make_writer()
    written.put(5)
    late = FakeSource("/late", "std_msgs/msg/Bool")
    number = written.writer.add_topic(late.bag_topic, late.definition)
    written.writer.put(number, 0, 5000, 5000, b"\x00\x01\x00\x00\x01")
    bag = finish(written)
    assert [message[0] for message in read_messages(bag)].count("/late") == 1
    with AnyReader([bag]) as reader:
        assert {connection.topic for connection in reader.connections} == {"/text", "/late"}


def test_what_is_written_is_in_the_file_long_before_the_end(make_writer, tmp_path):
    written = make_writer()
    written.put(50)
    deadline_s = time.monotonic() + 20.0
    while sum(written.writer.counts().values()) < 50 and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert written.writer.counts() == {"/text": 50}
    assert not (tmp_path / "bag" / "metadata.yaml").exists()
    assert (tmp_path / "bag" / "bag_0.mcap").stat().st_size > 1000


def test_handing_over_never_waits_for_the_disk_and_what_does_not_fit_is_refused(
    make_writer, settings, monkeypatch
):
    blocked, go_on = threading.Event(), threading.Event()
    append = AppendFile.append

    def slow(self, *parts):
        if len(b"".join(parts)) > 10_000:
            blocked.set()
            go_on.wait(30.0)
        append(self, *parts)

    written = make_writer(settings=replace(settings, queue_bytes=1_000_000, compression_level=-100))
    monkeypatch.setattr(AppendFile, "append", slow)
    written.writer.put(0, 0, 1, 1, os.urandom(100_000))
    assert blocked.wait(20.0)
    taken = sum(written.writer.put(0, 0, 1, 1, os.urandom(100_000)) for _ in range(20))
    assert taken == 10
    go_on.set()
    bag = finish(written)
    assert len(read_messages(bag)) == 11


def test_a_disk_that_is_nearly_full_stops_the_writer_and_the_bag_is_whole(make_writer, settings):
    reasons = []
    written = make_writer(on_stop=reasons.append, settings=replace(settings, disk_reserve_bytes=2**60))
    written.put(1)
    deadline_s = time.monotonic() + 20.0
    while not written.writer.stopped and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert not written.writer.put(0, 0, 1, 1, b"refused")
    assert len(read_messages(finish(written))) == 1
    assert len(reasons) == 1
    assert "make room" in reasons[0]


@pytest.mark.parametrize("level", [1, -100])
def test_a_full_disk_costs_only_what_did_not_fit(make_writer, settings, monkeypatch, level):
    """Like a quota: the filesystem takes 3 MB, and gives back what is truncated or deleted."""
    reasons, room = [], [3_000_000]
    pwrite, ftruncate = os.pwrite, os.ftruncate

    def limited(fd, data, offset):
        allowed = room[0] - offset
        if allowed < BLOCK:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return pwrite(fd, data[: allowed - allowed % BLOCK], offset)

    monkeypatch.setattr(os, "pwrite", limited)
    written = make_writer(on_stop=reasons.append, settings=replace(settings, compression_level=level))
    handed_over = []
    deadline_s = time.monotonic() + 30.0
    while not written.writer.stopped and time.monotonic() < deadline_s:
        data = os.urandom(200_000)
        if written.writer.put(0, len(handed_over), 1, 1, data):
            handed_over.append(data)
        time.sleep(0.01)
    written.writer.drain()
    assert reasons == ["the disk does not take what is recorded (No space left on device)"]
    assert not (written.writer.bag / ".room_for_the_end").exists()
    room[0] += 8_000_000
    bag = finish(written)
    kept = [message[1] for message in read_messages(bag)]
    assert 5 < len(kept) < len(handed_over)
    assert kept == handed_over[: len(kept)]
    monkeypatch.setattr(os, "ftruncate", ftruncate)


def test_a_filesystem_without_direct_writes_is_written_through_the_page_cache(make_writer, monkeypatch):
    real_open, refused = os.open, []

    def no_direct(path, flags, *arguments, **options):
        if flags & os.O_DIRECT:
            Path(path).touch()
            refused.append(path)
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real_open(path, flags, *arguments, **options)

    monkeypatch.setattr(os, "open", no_direct)
    written = make_writer()
    written.put(100)
    assert len(read_messages(finish(written))) == 100
    assert refused


def test_pieces_of_any_size_follow_each_other(tmp_path):
    file = AppendFile(tmp_path / "file")
    pieces = [os.urandom(size) for size in (1, BLOCK - 1, BLOCK, BLOCK + 1, 0, 3, 10_000_000, 7)]
    for piece in pieces:
        file.append(piece[:2], piece[2:])
    assert file.size == sum(map(len, pieces))
    file.finish()
    assert (tmp_path / "file").read_bytes() == b"".join(pieces)


def test_a_discarded_bag_is_gone(make_writer):
    written = make_writer()
    written.put(10)
    written.writer.drain()
    written.writer.discard()
    assert not written.writer.bag.exists()


def test_a_bag_is_never_written_over(make_writer, tmp_path):
    (tmp_path / "bag").mkdir()
    with pytest.raises(FileExistsError):
        make_writer()


def test_a_folder_that_cannot_be_written_leaves_nothing_behind(tmp_path, settings, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        BagWriter(tmp_path / "bag", settings, {}, lambda reason: None)
    assert list(tmp_path.iterdir()) == []
