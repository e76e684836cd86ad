"""When the policy is asked, and how a task ends."""

import numpy as np
import pytest

from dexvla_model.observation import Observation, RobotState
from dexvla_model.policy import SubStep
from dexvla_ros.reasoning_loop import Outcome, ReasoningLoop


class Listener:
    def __init__(self):
        self.said = []
        self.endings = []

    def on_sub_step(self, task, substep, inference_s, is_new):
        self.said.append((task.episode, substep.text, is_new))

    def on_end(self, task, ending):
        self.endings.append((task.episode, ending.outcome, ending.message))


@pytest.fixture
def listener():
    return Listener()


@pytest.fixture
def loop(policy, listener, clock):
    return ReasoningLoop(
        policy, listener, clock, observation_timeout_s=2.0, confirmations=3, confirm_s=0.5, seed=100
    )


def see(loop, clock, stamp_s: float) -> None:
    clock.now_s = stamp_s
    loop.on_observation(Observation(stamp_s, {}, RobotState(stamp_s, np.zeros(1))))


def substep(text: str, stamp_s: float, finished: bool = False) -> SubStep:
    return SubStep(text, np.zeros(1, np.float32), stamp_s, finished)


def test_nothing_is_asked_without_a_task(loop, policy, clock):
    see(loop, clock, 10.0)
    assert policy.requests == []


def test_an_episode_begins_with_a_reset_to_a_seed_of_its_own(loop, policy):
    loop.start("tidy up", 30.0)
    loop.start("tidy up", 30.0)
    assert policy.asked("reset") == [(101,), (102,)]


def test_the_policy_is_asked_about_the_newest_observation_only(loop, policy, clock):
    loop.start("tidy up", 30.0)
    for stamp_s in (10.0, 10.1, 10.2, 10.3):
        see(loop, clock, stamp_s)
    assert [arguments[0].stamp_s for arguments in policy.asked("reason")] == [10.0]
    policy.answer("reason", substep("grasp", 10.0))
    observation, instruction, previous = policy.asked("reason")[0]
    assert (observation.stamp_s, instruction, previous.text) == (10.3, "tidy up", "grasp")


def test_the_same_observation_is_not_asked_about_twice(loop, policy, clock):
    loop.start("tidy up", 30.0)
    see(loop, clock, 10.0)
    policy.answer("reason", substep("grasp", 10.0))
    assert policy.asked("reason") == []


def test_an_observation_from_before_the_task_is_not_used(loop, policy, clock):
    loop.start("tidy up", 30.0)
    loop.on_observation(Observation(9.9, {}, RobotState(9.9, np.zeros(1))))
    assert policy.asked("reason") == []


def test_every_answer_is_passed_on_and_new_texts_are_marked(loop, policy, listener, clock):
    loop.start("tidy up", 30.0)
    for stamp_s, text in ((10.0, "reach"), (10.1, "reach"), (10.2, "grasp")):
        see(loop, clock, stamp_s)
        policy.answer("reason", substep(text, stamp_s))
    assert listener.said == [(1, "reach", True), (1, "reach", False), (1, "grasp", True)]


def test_a_task_succeeds_when_done_was_said_often_and_long_enough(loop, policy, listener, clock):
    loop.start("tidy up", 30.0)
    for number in range(10):
        stamp_s = 10.0 + 0.1 * number
        see(loop, clock, stamp_s)
        if loop.task is None:
            break
        policy.answer("reason", substep("done", stamp_s, finished=True))
    assert listener.endings == [(1, Outcome.SUCCEEDED, "The policy says 'done'.")]
    assert clock.now_s >= 10.5


def test_a_task_ends_at_its_time_limit(loop, listener, clock):
    loop.start("tidy up", 1.5)
    see(loop, clock, 11.4)
    loop.check()
    assert listener.endings == []
    clock.now_s = 11.5
    loop.check()
    assert listener.endings[0][1] is Outcome.TIMED_OUT
    assert "1.5 s" in listener.endings[0][2]


def test_a_task_fails_when_no_observation_comes_any_more(loop, listener, clock):
    loop.start("tidy up", 30.0)
    see(loop, clock, 11.0)
    clock.now_s = 13.1
    loop.check()
    assert listener.endings[0][1] is Outcome.FAILED
    assert "no observation for 2 s" in listener.endings[0][2]


def test_a_task_fails_when_no_observation_comes_at_all(loop, listener, clock):
    loop.start("tidy up", 30.0)
    clock.now_s = 12.1
    loop.check()
    assert listener.endings[0][1] is Outcome.FAILED


def test_a_task_fails_when_the_policy_raises(loop, policy, listener, clock):
    loop.start("tidy up", 30.0)
    see(loop, clock, 10.0)
    policy.answer("reason", error="InvalidOutput: not finite")
    assert listener.endings[0][1] is Outcome.FAILED
    assert "InvalidOutput: not finite" in listener.endings[0][2]


def test_a_task_fails_when_the_clock_is_set_back(loop, listener, clock):
    loop.start("tidy up", 30.0)
    clock.now_s = 3.0
    loop.check()
    assert listener.endings[0][1] is Outcome.FAILED


def test_a_new_goal_replaces_the_old_one_whose_late_answer_is_dropped(loop, policy, listener, clock):
    loop.start("tidy up", 30.0)
    see(loop, clock, 10.0)
    loop.start("wait", 30.0)
    assert listener.endings == [(1, Outcome.CANCELED, "Replaced by a new goal.")]
    see(loop, clock, 10.1)
    policy.answer("reason", substep("old", 10.0))
    assert listener.said == []
    policy.answer("reason", substep("new", 10.1))
    assert listener.said == [(2, "new", True)]


def test_a_task_ends_once(loop, listener):
    loop.start("tidy up", 30.0)
    loop.fail("the policy worker died")
    loop.fail("the policy worker died")
    assert listener.endings == [(1, Outcome.FAILED, "The policy worker died.")]
