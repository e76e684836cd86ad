"""What the operator's keys and buttons do, and what the screen says."""

from types import SimpleNamespace

import pytest
from rich.console import Console
from sensor_msgs.msg import Joy

from dexvla_msgs.msg import RecorderStatus, TopicStatistics
from dexvla_ros.cli.record_screen import record_screen
from dexvla_ros.graph_client import GraphError
from dexvla_ros.recording.operator_file import load_operator_file
from dexvla_ros.recording.operator_session import OperatorSession


class FakeRecorder:
    """Stands for the recorder's client: remembers what it was asked for."""

    def __init__(self):
        self.asked = []
        self.recording = False
        self.status = None

    def start(self, instruction, operator, tags):
        if self.recording:
            raise GraphError("an episode is being recorded")
        self.recording = True
        self.asked.append(("start", instruction, operator, tuple(tags)))
        return "out/episode_000000"

    def mark(self, text, time_ns=0):
        self.asked.append(("mark", text, time_ns))

    def judge(self, outcome):
        if not self.recording:
            raise GraphError("No episode is being recorded")
        self.recording = False
        self.asked.append(("judge", outcome))
        return "out/episode_000000"


class FakeNode:
    """Takes the subscription to Joy, and has a clock that stands."""

    def create_subscription(self, kind, topic, callback, qos):
        self.joy = callback

    def get_clock(self):
        return SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=7_000))


@pytest.fixture
def node():
    return FakeNode()


@pytest.fixture
def make_session(node):
    def make(instruction="put it in", sub_steps=("reach", "grasp")):
        client = SimpleNamespace(node=node)
        file = load_operator_file()
        return OperatorSession(client, FakeRecorder(), file, instruction, "me", ["day 1"], sub_steps)

    return make


def press(session, *keys):
    for key in keys:
        session.on_key(key)


def test_an_episode_by_keys(make_session):
    session = make_session()
    press(session, "enter", "m", "m", "s")
    assert session.recorder.asked == [
        ("start", "put it in", "me", ("day 1",)),
        ("mark", "reach", 0),
        ("mark", "grasp", 0),
        ("judge", "success"),
    ]
    assert session.finished == [("out/episode_000000", "success")]


def test_a_number_marks_that_sub_step_of_the_list_and_the_next_follows_it(make_session):
    session = make_session(sub_steps=("reach", "grasp", "lift"))
    press(session, "enter", "2", "m")
    assert [entry[1] for entry in session.recorder.asked[1:]] == ["grasp", "lift"]


def test_a_typed_mark_begins_when_its_key_was_pressed(make_session):
    session = make_session(sub_steps=())
    press(session, "enter", "m", *"aligg", "backspace", *"n", "space", *"it", "enter")
    assert session.recorder.asked[1:] == [("mark", "align it", 7_000)]


def test_while_text_is_typed_keys_are_letters_and_escape_takes_nothing(make_session):
    session = make_session()
    press(session, "enter", "t", "s", "x", "q", "escape")
    assert session.recorder.asked[1:] == []
    assert session.recorder.recording


def test_a_discard_has_to_be_asked_for_twice(make_session):
    session = make_session()
    press(session, "enter", "x")
    assert session.recorder.recording
    assert "Once more" in session.note
    press(session, "x")
    assert session.recorder.asked[-1] == ("judge", "discarded")


def test_without_an_instruction_it_is_asked_for_and_it_may_change(make_session):
    session = make_session(instruction="")
    press(session, "enter", *"wave", "enter", "enter", "f", "i", *"bow", "enter", "enter")
    assert [entry[1] for entry in session.recorder.asked if entry[0] == "start"] == ["wave", "bow"]


def test_nobody_quits_in_the_middle_of_an_episode_by_a_key(make_session):
    session = make_session()
    press(session, "enter", "q")
    assert not session.quitting
    press(session, "s", "q")
    assert session.quitting


def test_what_the_recorder_refuses_becomes_the_note(make_session):
    session = make_session()
    press(session, "s")
    assert session.note == "No episode is being recorded"


def test_the_gamepad_starts_and_judges_but_not_while_it_moves_the_robot(make_session, node):
    session = make_session()

    def hold(*buttons):
        node.joy(Joy(buttons=[int(number in buttons) for number in range(11)]))
        session.do_what_was_asked()

    hold()
    hold(3)
    hold()
    hold(4, 0)
    hold(4)
    hold(4, 9)
    assert session.recorder.asked[1:] == [("mark", "reach", 0)]
    hold()
    hold(0)
    assert session.recorder.asked[-1] == ("judge", "success")


def shown(session) -> str:
    console = Console(width=140, record=True, file=open("/dev/null", "w"))
    console.print(record_screen(session))
    return console.export_text()


def test_the_screen_shows_rates_drops_and_warnings(make_session):
    session = make_session()
    session.recorder.status = RecorderStatus(
        state=RecorderStatus.RECORDING,
        path="out/episode_000007",
        seconds=12.3,
        sub_step="grasp",
        warning="nobody publishes /cameras/wrist",
        disk_free=5_000_000_000,
        topics=[
            TopicStatistics(
                name="/joint_states",
                type="sensor_msgs/msg/JointState",
                messages=120,
                bytes=2_500_000,
                drops=3,
                rate_hz=50.0,
                nominal_hz=100.0,
            ),
            TopicStatistics(name="/cameras/wrist", nominal_hz=30.0),
        ],
    )
    text = shown(session)
    for words in ("RECORDING", "12.3 s", "episode_000007", "grasp", "5.0 GB left", "50.0 / 100", "2.5"):
        assert words in text
    assert "nobody publishes /cameras/wrist" in text
    assert "enter" in text and "begin an episode" in text


def test_the_screen_says_what_is_being_typed(make_session):
    session = make_session()
    press(session, "i", *"wave")
    assert "instruction: wave" in shown(session)
