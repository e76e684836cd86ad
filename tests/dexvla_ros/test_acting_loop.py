"""When chunks are asked for, and when the robot holds."""

import numpy as np
import pytest

from dexvla_model.observation import RobotState
from dexvla_model.policy import ActionChunk, SubStep
from dexvla_model.streaming import ActionStreamer, StreamState
from dexvla_ros.acting_loop import ActingLoop

TICK_S = 0.02


class Listener:
    def __init__(self):
        self.connected = True
        self.sent = []
        self.chunks = []
        self.problems = []

    def is_connected(self):
        return self.connected

    def send(self, trajectories):
        self.sent.append(trajectories)

    def on_chunk(self, chunk, substep, inference_s, prefix_rows):
        self.chunks.append((chunk, substep, prefix_rows))

    def on_problem(self, reason):
        self.problems.append(reason)


@pytest.fixture
def listener():
    return Listener()


@pytest.fixture
def loop(robot, policy, listener, clock):
    return ActingLoop(
        policy=policy,
        policy_name="tiny",
        streamer=ActionStreamer(robot),
        listener=listener,
        clock=clock,
        chunk_hz=5.0,
        substep_age_max_s=0.8,
        seed=100,
    )


def say(loop, stamp_s: float, episode: int = 1, policy_name: str = "tiny") -> None:
    loop.on_sub_step(SubStep("reach", np.zeros(1, np.float32), stamp_s), episode, policy_name)


def measure(loop, stamp_s: float) -> None:
    """A joint state that follows the command exactly."""
    command = loop.streamer.command(stamp_s)
    loop.on_state(RobotState(stamp_s, loop.streamer.robot.home_positions if command is None else command))


def pass_time(loop, clock, seconds: float, saying: bool = True) -> None:
    """Joint states and checks at 50 Hz, sub-steps at 10 Hz."""
    for number in range(round(seconds / TICK_S)):
        clock.now_s += TICK_S
        measure(loop, clock.now_s)
        if saying and number % 5 == 0:
            say(loop, clock.now_s)
        loop.check()


def answer_chunk(loop, policy, offset_rad: float = 0.05) -> ActionChunk:
    """Answer the open request with a chunk that moves on from its state."""
    _, state, _, _ = policy.asked("act")[0]
    ramp = np.linspace(0.0, offset_rad, 16)[:, None]
    robot = loop.streamer.robot
    chunk = ActionChunk(state.stamp_s, 0.1, robot.action_joints, state.positions + ramp)
    policy.answer("act", chunk)
    return chunk


@pytest.fixture
def moving(loop, clock, policy):
    """A loop that has streamed for half a second."""
    measure(loop, clock.now_s)
    say(loop, clock.now_s)
    for _ in range(5):
        pass_time(loop, clock, 0.1)
        if policy.asked("act"):
            answer_chunk(loop, policy)
    assert loop.streamer.status.state is StreamState.STREAMING
    return loop


def test_nothing_is_sent_or_asked_without_a_sub_step(loop, policy, listener, clock):
    pass_time(loop, clock, 0.2, saying=False)
    assert policy.requests == []
    assert listener.sent == []


def test_a_new_episode_resets_the_policy_and_takes_the_controllers_over(loop, policy, listener, clock, robot):
    measure(loop, clock.now_s)
    say(loop, clock.now_s, episode=7)
    assert policy.asked("reset") == [(107,)]
    assert set(listener.sent[0]) == {controller.name for controller in robot.controllers}


def test_the_first_prefix_is_where_the_robot_stands_now(moving, policy, clock, robot):
    moving.hold("the task is done")
    clock.now_s += 5.0
    moving.check()
    policy.requests.clear()
    moving._asked = False
    moving.on_state(RobotState(clock.now_s, robot.home_positions + 0.2))
    say(moving, clock.now_s, episode=2)
    _, _, prefix, scheduled = policy.asked("act")[0]
    assert scheduled is None
    np.testing.assert_allclose(prefix[0, :-1], robot.home_positions[:-1] + 0.2, atol=1e-9)


def test_nothing_moves_before_every_controller_listens(loop, policy, listener, clock):
    listener.connected = False
    measure(loop, clock.now_s)
    say(loop, clock.now_s)
    pass_time(loop, clock, 0.3)
    assert listener.sent == []
    assert policy.asked("act") == []
    listener.connected = True
    pass_time(loop, clock, 0.1)
    assert listener.sent
    assert policy.asked("act")


def test_no_chunk_is_asked_for_while_one_is_under_way(loop, policy, clock):
    measure(loop, clock.now_s)
    say(loop, clock.now_s)
    pass_time(loop, clock, 1.0)
    assert len(policy.asked("act")) == 1


def test_chunks_come_at_the_wanted_rate_and_a_sub_step_serves_several(moving, policy, listener, clock):
    listener.chunks.clear()
    for _ in range(50):
        pass_time(moving, clock, TICK_S, saying=False)
        if policy.asked("act"):
            answer_chunk(moving, policy)
        if clock.now_s - moving._substep.stamp_s > 0.7:
            say(moving, clock.now_s)
    assert len(listener.chunks) == 5
    assert len({substep.stamp_s for _, substep, _ in listener.chunks}) < 5


def test_a_chunk_is_streamed_to_every_controller(moving, listener, robot):
    assert set(listener.sent[-1]) == {controller.name for controller in robot.controllers}
    for trajectory in listener.sent[-1].values():
        np.testing.assert_array_equal(trajectory.velocities[-1], 0.0)


def test_a_chunk_that_is_refused_is_told_and_changes_nothing(moving, policy, listener, clock):
    pass_time(moving, clock, 0.2)
    sent = len(listener.sent)
    answer_chunk(moving, policy, offset_rad=np.nan)
    assert "not finite" in listener.problems[-1]
    assert len(listener.sent) == sent


def test_an_old_sub_step_leads_to_hold_and_a_new_one_goes_on(moving, policy, listener, clock):
    pass_time(moving, clock, 1.0, saying=False)
    assert "sub-step is older" in listener.problems[-1]
    assert moving.streamer.status.state is StreamState.STOPPED
    policy.requests.clear()
    moving._asked = False
    pass_time(moving, clock, 0.4)
    answer_chunk(moving, policy)
    pass_time(moving, clock, 0.3)
    assert moving.streamer.status.state is StreamState.STREAMING
    assert moving.waited_s > 0.0


def test_the_end_of_a_task_brings_the_robot_to_rest(moving, listener, clock):
    sent = len(listener.sent)
    moving.hold("the task is done")
    assert len(listener.sent) == sent + 1
    assert moving.streamer.status.state is StreamState.STOPPED
    pass_time(moving, clock, 1.0, saying=False)
    assert not moving.acting
    knots = moving.streamer.command(clock.now_s), moving.streamer.command(clock.now_s + 0.1)
    np.testing.assert_allclose(*knots, rtol=0.0, atol=1e-12)


def test_a_chunk_that_arrives_after_the_end_is_dropped(loop, policy, listener, clock):
    measure(loop, clock.now_s)
    say(loop, clock.now_s)
    pass_time(loop, clock, 0.1)
    loop.hold("the task was stopped")
    answer_chunk(loop, policy)
    assert listener.chunks == []


def test_stale_joint_states_lead_to_hold(moving, listener, clock):
    for _ in range(20):
        clock.now_s += TICK_S
        say(moving, clock.now_s)
        moving.check()
    assert moving.streamer.status.state is StreamState.HOLDING
    assert "joint state" in moving.streamer.status.reason


def test_no_chunk_is_asked_for_from_a_stale_joint_state(loop, policy, clock):
    measure(loop, clock.now_s)
    clock.now_s += 1.0
    say(loop, clock.now_s)
    assert policy.asked("act") == []


def test_a_failed_inference_is_told_and_tried_again(moving, policy, listener, clock):
    pass_time(moving, clock, 0.2)
    policy.answer("act", error="InvalidOutput: not finite")
    assert "could not act" in listener.problems[-1]
    pass_time(moving, clock, 0.3)
    assert len(policy.asked("act")) == 1


def test_inference_that_keeps_failing_leads_to_hold_until_the_next_episode(moving, policy, clock):
    for _ in range(3):
        pass_time(moving, clock, 0.3)
        policy.answer("act", error="InvalidOutput: not finite")
    assert moving.streamer.status.state is StreamState.STOPPED
    pass_time(moving, clock, 0.5)
    assert not moving.acting
    say(moving, clock.now_s, episode=2)
    assert moving.acting


def test_a_robot_that_does_not_obey_is_given_up(moving, listener, clock):
    stuck = moving.streamer.command(clock.now_s) + 0.4
    for _ in range(30):
        clock.now_s += TICK_S
        moving.on_state(RobotState(clock.now_s, stuck))
        say(moving, clock.now_s)
        moving.check()
    assert not moving.acting
    assert "away from its command" in listener.problems[-1]


def test_a_clock_that_goes_back_leads_to_hold(moving, clock):
    clock.now_s -= 5.0
    moving.check()
    assert not moving.acting


def test_the_sub_steps_of_another_policy_are_refused(moving, clock):
    say(moving, clock.now_s, policy_name="large")
    assert not moving.acting
    assert "the policy large" in moving.streamer.status.reason


def test_a_chunk_is_asked_for_with_what_is_scheduled_behind_the_prefix(moving, policy, listener, clock):
    pass_time(moving, clock, 0.2)
    _, state, prefix, scheduled = policy.asked("act")[0]
    last = listener.chunks[-1][0]
    np.testing.assert_allclose(scheduled[-1], last.positions[-1], atol=0.01)
    end_s = state.stamp_s + 0.1 * (len(prefix) + len(scheduled) - 1)
    assert 0.0 <= last.stamp_s + 1.5 - end_s < 0.1


def test_a_stop_of_the_robot_s_own_holds_and_the_episode_goes_on_when_it_is_over(moving, clock):
    moving.block("the robot is in protective stop")
    assert not moving.acting and moving.streamer.status.reason == "the robot is in protective stop"
    say(moving, clock.now_s)
    assert not moving.acting
    # What the robot did meanwhile looked like a failure.
    moving.fail("the joint is away from its command")
    moving.block("")
    say(moving, clock.now_s)
    assert moving.acting and moving.failure == ""


def test_after_a_failure_one_call_lets_the_same_episode_go_on(moving, clock):
    moving.fail("the joint is away from its command")
    say(moving, clock.now_s)
    assert not moving.acting and "away" in moving.failure
    moving.go_on()
    say(moving, clock.now_s)
    assert moving.acting
