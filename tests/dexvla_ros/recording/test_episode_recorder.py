"""Episodes: numbered, marked, judged, discarded; what is missing is counted."""

from dataclasses import replace
from pathlib import Path

import pytest
from conftest_recording import FakeSource, cdr_string, read_messages

from dexvla_model.errors import UserError
from dexvla_ros.recording.episode_metadata import SubStepMark, read_episode_metadata
from dexvla_ros.recording.episode import EpisodeRequest
from dexvla_ros.recording.episode_recorder import EpisodeRecorder
from dexvla_ros.recording.mcap_file import McapFile
from dexvla_ros.recording.repair import repair_bag

REQUEST = EpisodeRequest("put it in", "me", ("day 1",))


@pytest.fixture
def now() -> list[int]:
    return [1_000_000]


@pytest.fixture
def recorder(tmp_path, robot, settings, now):
    recorder = EpisodeRecorder(
        tmp_path / "out", robot, settings, lambda: now[0], False, on_stop=lambda reason: None
    )
    yield recorder
    recorder.close()


def put(recorder, source, count, first=0):
    for number in range(first, first + count):
        recorder.put(source, cdr_string(str(number)), number, 2000 + number, 2000 + number)


def test_an_episode_says_everything_about_itself(recorder, source, robot, now):
    bag = recorder.start(REQUEST, [source])
    put(recorder, source, 10)
    now[0] = 5_000_000
    recorder.mark("align the sleeve")
    recorder.mark("earlier", time_ns=3_000_000)
    now[0] = 9_000_000
    summary = recorder.end("success", "The operator called it a success.")
    assert (summary.path, summary.outcome, summary.error) == (bag, "success", "")
    metadata = read_episode_metadata(bag)
    assert metadata.robot_file == robot.text
    assert (metadata.robot, metadata.instruction, metadata.operator) == ("ur5e", "put it in", "me")
    assert (metadata.tags, metadata.outcome) == (("day 1",), "success")
    assert (metadata.started_ns, metadata.ended_ns) == (1_000_000, 9_000_000)
    assert metadata.sub_steps == (
        SubStepMark(3_000_000, "earlier"),
        SubStepMark(5_000_000, "align the sleeve"),
    )
    assert metadata.version and metadata.host
    assert len(read_messages(bag)) == 10


def test_episodes_are_numbered_and_keep_the_instruction_until_it_changes(recorder, source):
    names, instructions = [], []
    for instruction in ("first", "", "second"):
        recorder.start(EpisodeRequest(instruction), [source])
        summary = recorder.end("failure", "")
        names.append(summary.path.name)
        instructions.append(read_episode_metadata(summary.path).instruction)
    assert names == ["episode_000000", "episode_000001", "episode_000002"]
    assert instructions == ["first", "first", "second"]


def test_numbering_goes_on_behind_what_is_there(recorder, source, tmp_path):
    (tmp_path / "out" / "episode_000041").mkdir(parents=True)
    (tmp_path / "out" / "something else").mkdir()
    assert recorder.start(REQUEST, [source]).name == "episode_000042"


def test_a_discarded_episode_is_deleted_and_its_number_is_free(recorder, source):
    bag = recorder.start(REQUEST, [source])
    put(recorder, source, 10)
    summary = recorder.discard()
    assert (summary.path, summary.outcome) == (None, "discarded")
    assert not bag.exists()
    assert recorder.start(REQUEST, [source]) == bag


def test_what_comes_between_episodes_is_in_none(recorder, source):
    put(recorder, source, 5)
    bag = recorder.start(REQUEST, [source])
    put(recorder, source, 5, first=5)
    recorder.end("success", "")
    put(recorder, source, 5, first=10)
    assert [message[2] for message in read_messages(bag)] == [5, 6, 7, 8, 9]


def test_a_topic_that_appears_in_the_middle_is_recorded(recorder, source):
    bag = recorder.start(REQUEST, [])
    put(recorder, source, 3)
    recorder.end("success", "")
    assert len(read_messages(bag)) == 3


def test_drops_are_those_of_the_middleware_and_of_the_queue_since_the_start(recorder, source, settings):
    source.lost = 100
    recorder._settings = replace(settings, queue_bytes=50_000)
    bag = recorder.start(REQUEST, [source])
    source.lost = 103
    taken = 0
    for number in range(20):
        recorder.put(source, b"\x00\x01\x00\x00" + bytes(20_000), number, 2000, 2000)
    taken = recorder.counts()["/text"].messages
    assert recorder.counts()["/text"].drops == 3 + 20 - taken
    summary = recorder.end("success", "")
    assert summary.counts["/text"].messages == len(read_messages(bag)) == taken
    assert read_episode_metadata(bag).drops == {"/text": 3 + 20 - taken}


def test_an_episode_that_nobody_ends_is_kept_unjudged(recorder, source):
    bag = recorder.start(REQUEST, [source])
    put(recorder, source, 3)
    recorder.close()
    assert read_episode_metadata(bag).outcome == "unjudged"
    assert len(read_messages(bag)) == 3
    assert recorder.close() is None


@pytest.mark.parametrize("call", ["mark", "end", "discard"])
def test_without_an_episode_there_is_nothing_to_do(recorder, call):
    arguments = {"mark": ("text",), "end": ("success", ""), "discard": ()}[call]
    with pytest.raises(UserError, match="No episode"):
        getattr(recorder, call)(*arguments)


def test_a_second_episode_at_the_same_time_is_refused(recorder, source):
    recorder.start(REQUEST, [source])
    with pytest.raises(UserError, match="episode_000000 is being recorded"):
        recorder.start(REQUEST, [source])


@pytest.mark.parametrize("text", ["", "  "])
def test_an_instruction_and_a_sub_step_need_words(recorder, source, text):
    with pytest.raises(UserError, match="instruction is empty"):
        recorder.start(EpisodeRequest(text), [source])
    recorder.start(REQUEST, [source])
    with pytest.raises(UserError, match="sub-step is empty"):
        recorder.mark(text)


def test_a_disk_without_room_is_refused_at_once(recorder, source, settings, tmp_path):
    recorder._settings = replace(settings, disk_reserve_bytes=2**60)
    with pytest.raises(UserError, match="make room"):
        recorder.start(REQUEST, [source])
    assert list((tmp_path / "out").glob("*")) == []


def test_a_folder_that_cannot_be_made_is_named(robot, settings, source):
    recorder = EpisodeRecorder(
        Path("/dev/null/out"), robot, settings, lambda: 1, False, lambda reason: None
    )
    with pytest.raises(UserError, match="/dev/null"):
        recorder.start(REQUEST, [source])


def test_a_bag_that_cannot_be_finished_is_reported_and_can_be_repaired(recorder, source, monkeypatch):
    bag = recorder.start(REQUEST, [source])
    put(recorder, source, 10)

    def full(self):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(McapFile, "finish", full)
        summary = recorder.end("success", "")
    assert "No space left on device" in summary.error
    assert f"dexvla record --repair {bag}" in summary.error
    assert not (bag / "metadata.yaml").exists()
    assert repair_bag(bag).messages == 10


def test_topics_of_any_type_stand_side_by_side(recorder):
    sources = [FakeSource("/a"), FakeSource("/b", "sensor_msgs/msg/Image"), FakeSource("/c")]
    bag = recorder.start(REQUEST, sources)
    garbage = b"\x00\x01\x00\x00" + bytes(range(256)) * 40
    for source in sources:
        recorder.put(source, garbage, 1, 2000, 2000)
    recorder.end("success", "")
    assert [(message[0], message[1]) for message in read_messages(bag)] == [
        (source.name, garbage) for source in sources
    ]
