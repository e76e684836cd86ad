"""`dexvla move`: mistakes are one sentence, and the sent goal is the one that was typed."""

import sys

import numpy as np
import pytest

from dexvla_msgs.action import MoveTo
from dexvla_ros.cli import main as command_line
from dexvla_ros.cli import move as move_module
from dexvla_ros.messages.move_goals import goal_from_message, goal_to_message
from dexvla_ros.motion.goals import MoveGoal
from dexvla_ros.motion.refusal import MoveOutcome


@pytest.fixture
def dexvla_move(monkeypatch, capsys):
    """Runs the command; its exit code, what it says on stderr, and the goal that it would have sent."""

    def run(*arguments):
        sent = []
        monkeypatch.setattr(move_module, "_send", lambda goal, use_sim_time: sent.append(goal) or 0)
        monkeypatch.setattr(sys, "argv", ["dexvla", "move", *arguments])
        with pytest.raises(SystemExit) as caught:
            command_line.main()
        return caught.value.code, capsys.readouterr().err, sent

    return run


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Of --named, --joints and --pose none is given"),
        (["--named", "home", "--joints", "elbow_joint=1"], "--named and --joints is given; give exactly one"),
        (["--named", "nowhere"], "There is no pose named 'nowhere'; the poses are home, ready."),
        (["--joints", "elbow_joint"], "--joints elbow_joint: needed is JOINT=POSITION"),
        (["--joints", "elbow_joint=nan"], "needed is JOINT=POSITION"),
        (["--joints", "elbow=1"], "There is no joint 'elbow'"),
        (["--joints", "elbow_joint=9"], "would be at 9 rad; allowed is -3.14159 to 3.14159 rad"),
        (["--pose", "0", "0", "0.5", "1", "1", "0", "0"], "has the length 1.414; needed is 1"),
        (["--named", "home", "--robot", "robby"], "There is no robot named 'robby'"),
    ],
)
def test_a_mistake_is_one_sentence(dexvla_move, arguments, words):
    code, error, sent = dexvla_move(*arguments)
    assert code == 2 and words in error and not sent
    assert len(error.strip().splitlines()) == 1


def test_goals_arrive_as_they_were_typed(dexvla_move):
    _, _, (home,) = dexvla_move("--named", "home", "--speed", "0.2")
    assert (home.named, home.speed) == ("home", 0.2)
    _, _, (joints,) = dexvla_move("--joints", "elbow_joint=1.2", "--joints", "wrist_1_joint=-1.5")
    assert dict(zip(joints.joints, joints.positions)) == {"elbow_joint": 1.2, "wrist_1_joint": -1.5}
    _, _, (pose,) = dexvla_move("--pose", "0.4", "-0.1", "0.3", "1", "0", "0", "0", "--link", "tool0")
    assert pose.link == "tool0" and pose.frame == ""
    np.testing.assert_array_equal(pose.position, [0.4, -0.1, 0.3])
    np.testing.assert_array_equal(pose.quaternion, [1.0, 0.0, 0.0, 0.0])


@pytest.mark.parametrize(
    "goal",
    [
        MoveGoal(named="ready", speed=0.5),
        MoveGoal(joints=("a", "b"), positions=(0.25, -1.0), speed=1.0),
        MoveGoal(link="tool0", position=np.array([1.0, 2.0, 3.0]), frame="base", speed=0.25),
    ],
)
def test_a_goal_is_the_same_after_it_was_a_message(goal):
    back = goal_from_message(goal_to_message(goal), default_speed=0.75)
    for name, value in vars(goal).items():
        np.testing.assert_array_equal(getattr(back, name), value)


def test_a_speed_of_zero_is_the_default_one():
    assert goal_from_message(MoveTo.Goal(named="home"), default_speed=0.75).speed == 0.75


def test_outcomes_have_the_numbers_of_the_action():
    for outcome in MoveOutcome:
        assert getattr(MoveTo.Result, outcome.name) == outcome
