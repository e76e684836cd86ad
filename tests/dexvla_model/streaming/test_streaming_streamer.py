"""The streamer's decisions: what it takes, what it refuses, what it sends, and when the robot is held."""

import dataclasses

import numpy as np
import pytest

from dexvla_model.errors import UserError
from dexvla_model.observation import RobotState
from dexvla_model.policy import ActionChunk
from dexvla_model.robot import load_robot
from dexvla_model.streaming import ActionStreamer, Refusal, StreamSettings, StreamState
from dexvla_model.streaming.plan import KNOT_S

STEP_S = 0.1
GRIPPER = 6


@pytest.fixture(scope="module")
def robot():
    return load_robot("ur5e")


class Bench:
    """A streamer and a robot that is where the plan says, plus `offset`; time goes in steps of 10 ms."""

    def __init__(self, robot, **settings):
        self.robot = robot
        self.streamer = ActionStreamer(robot, StreamSettings(**settings))
        self.now_s = 100.0
        self.offset = np.zeros(len(robot.action_joints))
        self.blind = False
        self.sent = []
        self.positions = robot.home_positions

    def run(self, duration_s):
        for _ in range(round(duration_s / 0.01)):
            self.now_s += 0.01
            command = self.streamer.command(self.now_s)
            self.positions = self.robot.home_positions if command is None else command
            if not self.blind:
                self.streamer.observe(self.state())
            out = self.streamer.messages(self.now_s)
            if out is not None:
                self.sent.append((self.now_s, out))
        return self

    def state(self):
        return RobotState(self.now_s, self.positions + self.offset)

    def start(self):
        self.streamer.start(self.now_s)
        return self.run(0.6)

    def chunk(self, offset=0.1, age_s=0.0, rows=16, joints=None, ramp=True):
        """A chunk that moves every joint by `offset` from where it is commanded now."""
        where = self.streamer.command(self.now_s)
        where = self.robot.home_positions if where is None else where
        share = np.linspace(0.0, 1.0, rows)[:, None] if ramp else np.ones((rows, 1))
        positions = where + share * offset * np.ones(len(where))
        return ActionChunk(
            self.now_s - age_s, STEP_S, self.robot.action_joints if joints is None else joints, positions
        )

    def add(self, **kwargs):
        return self.streamer.add_chunk(self.chunk(**kwargs), self.now_s)

    def speed(self, ahead_s=0.0):
        """Largest planned speed in any joint at a time from now, in rad/s."""
        return (
            np.abs(
                self.streamer.command(self.now_s + ahead_s + 0.001)
                - self.streamer.command(self.now_s + ahead_s)
            ).max()
            * 1e3
        )

    @property
    def state_now(self):
        return self.streamer.status.state


@pytest.fixture
def bench(robot):
    return Bench(robot)


# --- start --------------------------------------------------------------------------------------------------


def test_it_does_nothing_before_the_start(bench):
    bench.run(0.5)
    assert bench.sent == [] and bench.state_now is StreamState.IDLE


def test_it_starts_at_rest_where_the_robot_is_measured(bench):
    bench.offset[:GRIPPER] = 0.3
    bench.start()
    assert bench.state_now is StreamState.STARTING
    ((_, out),) = bench.sent
    assert set(out) == {"joint_trajectory_controller", "gripper_controller"}
    arm = out["joint_trajectory_controller"]
    np.testing.assert_allclose(
        arm.positions, np.tile(bench.robot.home_positions[:GRIPPER] + 0.3, (len(arm.times_s), 1))
    )
    assert not arm.velocities.any() and not arm.accelerations.any()
    assert arm.stamp_s > 100.1


def test_it_waits_for_a_joint_state_to_start(bench):
    bench.blind = True
    bench.start()
    assert bench.sent == [] and "joint state" in bench.streamer.status.reason
    assert bench.add().refusal is Refusal.NO_STATE
    bench.blind = False
    bench.run(0.6)
    assert len(bench.sent) == 1
    assert bench.add().taken


def test_the_first_chunk_starts_it_where_nobody_else_does(bench):
    bench.run(0.1)
    assert bench.add().taken
    bench.run(1.0)
    assert bench.state_now is StreamState.STREAMING
    assert bench.speed() > 0.01


def test_it_does_not_start_from_beyond_a_position_limit(bench):
    bench.offset[GRIPPER] = -0.2
    bench.streamer.start(bench.now_s)
    bench.run(0.5)
    assert bench.state_now is StreamState.STOPPED
    assert (
        "robotiq_85_left_knuckle_joint stands at -0.200 rad, outside its limits"
        in bench.streamer.status.reason
    )


def test_a_restart_goes_on_from_the_command_where_the_robot_only_sags(bench):
    bench.start()
    bench.add(offset=0.3)
    bench.run(2.5)
    bench.streamer.hold(bench.now_s, "the task is over")
    bench.run(1.0)
    commanded = bench.streamer.command(bench.now_s)
    bench.offset[:] = -0.02
    bench.sent.clear()
    bench.start()
    np.testing.assert_allclose(
        bench.sent[0][1]["joint_trajectory_controller"].positions[0], commanded[:GRIPPER], atol=1e-6
    )


def test_a_gripper_that_holds_something_keeps_its_command_at_a_restart(bench):
    bench.start()
    bench.add(offset=0.5)
    bench.run(2.5)
    bench.streamer.hold(bench.now_s, "the task is over")
    bench.offset[GRIPPER] = -0.3
    bench.run(1.0)
    commanded = bench.streamer.command(bench.now_s)[GRIPPER]
    bench.sent.clear()
    bench.start()
    assert bench.sent[0][1]["gripper_controller"].positions[0, 0] == pytest.approx(commanded, abs=1e-6)


def test_the_take_over_lasts_longer_where_the_robot_is_far_from_its_last_command(bench):
    bench.start()
    bench.add(offset=0.2)
    bench.run(2.5)
    bench.streamer.hold(bench.now_s, "over")
    bench.run(0.5)
    delays = []
    for offset in (0.0, 1.0):
        bench.offset[:GRIPPER] = offset
        bench.run(0.1)
        bench.sent.clear()
        bench.streamer.start(bench.now_s)
        bench.run(0.02)
        sent_s, out = bench.sent[0]
        delays.append(out["joint_trajectory_controller"].stamp_s - sent_s)
        bench.run(3.0)
        bench.streamer.hold(bench.now_s, "over")
    assert 0.3 < delays[0] < 0.6
    # A quintic over 1 rad within half of 5 rad/s^2 takes (2 * 5.774 / 5) ** 0.5 s; the lead comes on top.
    assert 1.52 + 0.1 < delays[1] < 1.52 + 0.15


def test_the_state_has_to_hold_every_joint_of_the_action(robot):
    with pytest.raises(UserError, match="wrist_3_joint is in action but not in state"):
        ActionStreamer(
            dataclasses.replace(robot, state=tuple(e for e in robot.state if e.joint != "wrist_3_joint"))
        )


# --- messages -----------------------------------------------------------------------------------------------


def test_a_message_begins_with_the_past_and_ends_at_rest_in_the_future(bench):
    bench.start()
    bench.sent.clear()
    for _ in range(6):
        assert bench.add(offset=0.2).taken
        bench.run(0.2)
    assert len(bench.sent) == 6
    for sent_s, out in bench.sent:
        for controller in bench.robot.controllers:
            message = out[controller.name]
            assert message.joints == controller.joints
            assert message.stamp_s + message.times_s[0] <= sent_s
            assert message.end_s > sent_s + 2.0
            assert (np.diff(message.times_s) > 0.0).all()
            assert not message.velocities[-1].any() and not message.accelerations[-1].any()


def test_consecutive_messages_agree_up_to_the_commit_lead(bench):
    bench.start()
    bench.sent.clear()
    for step in range(8):
        bench.add(offset=0.3 * (-1) ** step)
        bench.run(0.15)
    arms = [(sent_s, out["joint_trajectory_controller"]) for sent_s, out in bench.sent]
    differed = 0
    for (_, old), (sent_s, new) in zip(arms, arms[1:]):
        common = sent_s - 0.05 + np.arange(150) * 1e-3
        np.testing.assert_allclose(
            old.spline().sample_many(common - old.stamp_s),
            new.spline().sample_many(common - new.stamp_s),
            atol=1e-8,
        )
        later = np.array([sent_s + 0.4])
        differed += not np.allclose(
            old.spline().sample_many(later - old.stamp_s),
            new.spline().sample_many(later - new.stamp_s),
            atol=1e-3,
        )
    assert differed == len(arms) - 1


def test_nothing_is_sent_where_nothing_has_changed(bench):
    bench.start()
    bench.add()
    bench.run(0.3)
    count = len(bench.sent)
    bench.run(0.5)
    assert len(bench.sent) == count


def test_chunks_longer_than_the_window_are_followed_to_their_end(bench):
    bench.start()
    bench.add(offset=0.6, rows=50)
    bench.run(3.5)
    assert bench.speed() > 0.1
    bench.run(2.5)
    np.testing.assert_allclose(
        bench.streamer.command(bench.now_s)[:GRIPPER], bench.robot.home_positions[:GRIPPER] + 0.6, atol=1e-4
    )


# --- guards -------------------------------------------------------------------------------------------------


def refused(bench, refusal, chunk):
    verdict = bench.streamer.add_chunk(chunk, bench.now_s)
    assert verdict.refusal is refusal and verdict.detail
    assert bench.streamer.counters.refused[refusal] == 1
    bench.sent.clear()
    bench.run(0.1)
    assert bench.sent == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(bench, bad):
    chunk = bench.start().chunk()
    chunk.positions[7, 3] = bad
    refused(bench, Refusal.NOT_FINITE, chunk)


def test_a_stamp_that_is_not_finite_is_refused(bench):
    refused(bench, Refusal.NOT_FINITE, dataclasses.replace(bench.start().chunk(), stamp_s=np.nan))


def test_joints_are_matched_by_name(bench):
    chunk = bench.start().chunk()
    order = [3, 0, 6, 2, 5, 1, 4]
    target = bench.robot.home_positions + np.array([0.1, -0.1, 0.2, -0.2, 0.15, -0.15, 0.4])
    permuted = dataclasses.replace(
        chunk,
        joints=tuple(bench.robot.action_joints[index] for index in order),
        positions=np.tile(target[order], (16, 1)),
    )
    assert bench.streamer.add_chunk(permuted, bench.now_s).taken
    bench.run(2.5)
    np.testing.assert_allclose(bench.streamer.command(bench.now_s), target, atol=1e-4)


@pytest.mark.parametrize(
    "joints",
    [
        ("a", "b", "c", "d", "e", "f", "g"),
        ("shoulder_pan_joint",) * 7,
    ],
)
def test_joints_that_do_not_match_are_refused(bench, joints):
    refused(bench, Refusal.JOINTS, dataclasses.replace(bench.start().chunk(), joints=joints))


def test_a_missing_joint_is_refused(bench):
    chunk = bench.start().chunk()
    short = dataclasses.replace(chunk, joints=chunk.joints[:-1], positions=chunk.positions[:, :-1])
    refused(bench, Refusal.JOINTS, short)


@pytest.mark.parametrize("shape", [(16, 6), (0, 7), (7,), (2, 16, 7)])
def test_a_malformed_chunk_is_refused(bench, shape):
    refused(bench, Refusal.MALFORMED, dataclasses.replace(bench.start().chunk(), positions=np.zeros(shape)))


@pytest.mark.parametrize("step_s", [0.0, -0.1, np.nan])
def test_a_step_that_is_no_time_is_refused(bench, step_s):
    refused(bench, Refusal.MALFORMED, dataclasses.replace(bench.start().chunk(), step_s=step_s))


def test_stale_chunks_are_refused(bench):
    bench.start()
    refused(bench, Refusal.STALE, bench.chunk(age_s=1.2))


def test_chunks_whose_rows_are_all_past_are_refused(bench):
    bench.start()
    refused(bench, Refusal.STALE, bench.chunk(age_s=0.5, rows=5))


def test_chunks_from_the_future_are_refused(bench):
    bench.start()
    refused(bench, Refusal.FROM_THE_FUTURE, bench.chunk(age_s=-0.2))


def test_chunks_that_were_overtaken_are_refused(bench):
    bench.start()
    late = bench.chunk(offset=0.3, age_s=0.05)
    assert bench.add(offset=0.1).taken
    bench.run(0.1)
    refused(bench, Refusal.OUT_OF_ORDER, late)


def test_a_jump_is_refused(bench):
    bench.start()
    chunk = bench.chunk(offset=0.0)
    chunk.positions[:, 2] += 0.7
    refused(bench, Refusal.JUMP, chunk)


def test_a_gripper_may_be_told_to_close_at_once(bench):
    bench.start()
    chunk = bench.chunk(offset=0.0)
    chunk.positions[:, GRIPPER] = 0.8
    assert bench.streamer.add_chunk(chunk, bench.now_s).taken


def test_positions_beyond_a_limit_are_followed_up_to_the_limit(bench):
    bench.start()
    chunk = bench.chunk(offset=0.0)
    chunk.positions[:, GRIPPER] = 5.0
    assert bench.streamer.add_chunk(chunk, bench.now_s).taken
    bench.run(3.0)
    assert bench.streamer.command(bench.now_s)[GRIPPER] == pytest.approx(0.8, abs=1e-3)
    assert bench.streamer.command(bench.now_s)[GRIPPER] <= 0.8


def test_several_refused_chunks_in_a_row_lead_to_hold_and_a_good_one_goes_on(bench):
    bench.start()
    bench.add(offset=1.0)
    bench.run(0.4)
    assert bench.speed() > 0.1
    for _ in range(3):
        broken = bench.chunk()
        broken.positions[:] = np.nan
        bench.streamer.add_chunk(broken, bench.now_s)
        bench.run(0.02)
    assert bench.state_now is StreamState.HOLDING and "3 chunks in a row" in bench.streamer.status.reason
    bench.run(0.7)
    assert bench.speed() < 0.005
    assert bench.add(offset=0.2).taken
    bench.run(0.5)
    assert bench.state_now is StreamState.STREAMING and bench.speed() > 0.05


def test_chunks_that_were_overtaken_do_not_count_as_trouble(bench):
    bench.start()
    late = [bench.chunk(age_s=0.01 * k) for k in range(1, 8)]
    bench.add()
    for chunk in late:
        assert bench.streamer.add_chunk(chunk, bench.now_s).refusal is Refusal.OUT_OF_ORDER
    bench.run(0.2)
    assert bench.state_now is StreamState.STREAMING


# --- hold ---------------------------------------------------------------------------------------------------


def test_hold_decelerates_stays_and_takes_nothing_until_the_next_start(bench):
    bench.start()
    bench.add(offset=1.5)
    bench.run(0.8)
    assert bench.speed() > 0.3
    bench.streamer.hold(bench.now_s, "cancelled")
    bench.run(0.6)
    assert bench.speed() < 0.005
    rest = bench.streamer.command(bench.now_s)
    assert bench.add().refusal is Refusal.STOPPED
    bench.run(3.0)
    assert bench.state_now is StreamState.STOPPED and bench.streamer.status.reason == "cancelled"
    np.testing.assert_allclose(bench.streamer.command(bench.now_s), rest, atol=2e-4)
    bench.start()
    assert bench.add().taken


def test_a_start_while_the_robot_still_decelerates_needs_no_take_over(bench):
    bench.start()
    bench.add(offset=1.5)
    bench.run(0.8)
    bench.streamer.hold(bench.now_s, "next task")
    bench.run(0.1)
    assert bench.speed() > 0.05
    bench.streamer.start(bench.now_s)
    assert bench.add(offset=0.2).taken
    bench.run(0.8)
    assert bench.state_now is StreamState.STREAMING


def test_a_robot_that_was_put_elsewhere_while_it_decelerated_is_taken_over(bench):
    bench.start()
    bench.add(offset=1.5)
    bench.run(0.8)
    bench.streamer.hold(bench.now_s, "the world was reset")
    bench.run(0.02)
    bench.offset[:GRIPPER] = -1.0
    bench.run(0.02)
    bench.streamer.start(bench.now_s)
    bench.run(2.5)
    where = bench.streamer.command(bench.now_s)[:GRIPPER]
    assert bench.state_now is StreamState.STARTING and bench.speed() < 1e-9
    np.testing.assert_allclose(bench.sent[-1][1]["joint_trajectory_controller"].positions[0], where)
    bench.offset[:] = 0.0
    assert bench.add(offset=0.1).taken


def test_without_new_chunks_the_robot_comes_to_rest_at_the_last_row(bench):
    bench.start()
    bench.add(offset=0.4)
    bench.run(2.5)
    assert bench.state_now is StreamState.HOLDING and "no other came" in bench.streamer.status.reason
    np.testing.assert_allclose(
        bench.streamer.command(bench.now_s), bench.robot.home_positions + 0.4, atol=1e-4
    )
    assert bench.speed() < 0.005


def test_stale_joint_states_lead_to_hold_until_they_come_again(bench):
    bench.start()
    bench.add(offset=1.0)
    bench.run(0.3)
    bench.blind = True
    bench.run(0.4)
    assert bench.state_now is StreamState.HOLDING and "joint state is" in bench.streamer.status.reason
    assert bench.add().refusal is Refusal.NO_STATE
    bench.run(1.0)
    assert bench.speed() < 0.005
    bench.blind = False
    bench.run(0.1)
    assert bench.add().taken
    bench.run(0.2)
    assert bench.state_now is StreamState.STREAMING


def test_joint_states_that_are_not_finite_count_as_none(bench):
    bench.start()
    bench.add(offset=1.0)
    bench.run(0.3)
    bench.offset[2] = np.nan
    bench.run(0.4)
    assert bench.state_now is StreamState.HOLDING
    assert bench.streamer.counters.states_refused > 10


def test_a_joint_that_does_not_follow_stops_the_stream(bench):
    bench.start()
    bench.add(offset=1.0)
    bench.run(0.5)
    bench.offset[2] = -0.5
    bench.run(0.2)
    assert bench.state_now is StreamState.STOPPED
    assert "elbow_joint is 0." in bench.streamer.status.reason
    bench.run(1.0)
    assert bench.speed() < 0.005
    assert bench.add().refusal is Refusal.STOPPED


def test_a_joint_that_is_away_for_a_moment_does_not(bench):
    bench.start()
    bench.add(offset=1.0)
    bench.run(0.5)
    bench.offset[2] = -0.5
    bench.run(0.05)
    bench.offset[2] = 0.0
    bench.run(0.3)
    assert bench.state_now is StreamState.STREAMING


def test_a_gripper_that_holds_something_may_stay_away_from_its_command(bench):
    bench.start()
    bench.add(offset=0.5)
    bench.offset[GRIPPER] = -0.4
    bench.run(1.0)
    assert bench.state_now is StreamState.STREAMING


def test_a_clock_that_goes_back_stops_the_stream_and_rests_where_the_robot_is(bench):
    bench.start()
    bench.add(offset=1.0)
    bench.run(0.5)
    bench.now_s -= 50.0
    bench.offset[0] = 0.4
    bench.sent.clear()
    bench.run(0.5)
    assert (
        bench.state_now is StreamState.STOPPED
        and "the clock went back by 49." in bench.streamer.status.reason
    )
    ((sent_s, out),) = bench.sent
    assert sent_s < 60.0
    arm = out["joint_trajectory_controller"]
    np.testing.assert_allclose(arm.positions[:, 0], bench.robot.home_positions[0] + 0.4)
    assert arm.stamp_s < 60.0 and not arm.velocities.any()


def test_a_clock_that_jitters_does_not(bench):
    bench.start()
    bench.add(offset=1.0)
    bench.run(0.3)
    bench.streamer.messages(bench.now_s - 0.03)
    bench.run(0.1)
    assert bench.state_now is StreamState.STREAMING


def test_a_robot_that_was_moved_while_it_held_is_taken_over_again(bench):
    bench.start()
    bench.add(offset=0.2)
    bench.run(2.5)
    assert bench.state_now is StreamState.HOLDING
    bench.offset[1] = 0.15
    bench.run(0.2)
    where = bench.positions + bench.offset
    bench.sent.clear()
    chunk = bench.chunk(offset=0.0)
    chunk.positions[:, 1] += 0.15
    assert bench.streamer.add_chunk(chunk, bench.now_s).taken
    bench.run(0.05)
    first = bench.sent[0][1]["joint_trajectory_controller"]
    np.testing.assert_allclose(first.positions[:, 1], where[1], atol=1e-6)
    assert first.stamp_s > bench.sent[0][0]
    bench.offset[1] = 0.0
    bench.run(1.0)
    assert bench.state_now is StreamState.STREAMING


# --- prefix -------------------------------------------------------------------------------------------------


def test_there_is_no_prefix_before_the_start_and_after_a_hold(bench):
    bench.run(0.1)
    assert bench.streamer.prefix(bench.now_s, bench.state()) is None
    bench.start()
    bench.streamer.hold(bench.now_s, "over")
    assert bench.streamer.prefix(bench.now_s, bench.state()) is None


def test_the_prefix_reaches_to_where_the_chunk_takes_effect(bench):
    bench.start()
    bench.add(offset=0.5)
    bench.run(0.3)
    # Nothing was late so far: the lead alone, rows at 0 and 0.1 s.
    assert bench.streamer.prefix(bench.now_s, bench.state()).shape == (2, 7)
    bench.add(age_s=0.25)
    bench.run(0.1)
    assert bench.streamer.prefix(bench.now_s, bench.state()).shape == (4, 7)


def test_what_a_prefix_promises_is_executed(bench):
    bench.start()
    bench.add(offset=0.5, age_s=0.0)
    bench.run(0.3)
    bench.add(offset=0.6, age_s=0.25)
    bench.run(0.1)
    stamp_s = bench.now_s
    promised = bench.streamer.prefix(stamp_s, bench.state())
    bench.run(0.05)
    assert bench.add(offset=-0.4).taken
    bench.run(0.6)
    for row, positions in enumerate(promised):
        np.testing.assert_allclose(bench.streamer.command(stamp_s + row * STEP_S), positions, atol=1e-12)


def test_there_is_no_prefix_while_the_controllers_are_still_to_be_taken_over(bench):
    bench.start()
    bench.add(offset=1.0)
    bench.run(0.6)
    bench.streamer.hold(bench.now_s, "stop")
    # Still decelerating, and away from its command: from where the next motion goes on is not decided yet.
    bench.offset[0] = 0.4
    bench.streamer.observe(bench.state())
    bench.streamer.start(bench.now_s)
    assert bench.streamer.prefix(bench.now_s, bench.state()) is None


def test_the_first_prefix_takes_the_controllers_over(bench):
    bench.run(0.1)
    bench.streamer.start(bench.now_s)
    promised = bench.streamer.prefix(bench.now_s, bench.state())
    np.testing.assert_allclose(promised, np.repeat(promised[:1], len(promised), axis=0))
    np.testing.assert_allclose(promised[0], bench.streamer.command(bench.now_s))


# --- scheduled rows -----------------------------------------------------------------------------------------


def test_nothing_is_scheduled_before_the_first_chunk_and_after_a_hold(bench):
    bench.start()
    assert bench.streamer.scheduled(bench.state(), 0) is None
    bench.add(offset=0.5)
    bench.streamer.hold(bench.now_s, "over")
    assert bench.streamer.scheduled(bench.state(), 0) is None


def test_the_rows_of_the_last_chunk_are_scheduled_up_to_its_end(bench):
    bench.start()
    bench.run(1.0)
    stamp_s = bench.now_s
    assert bench.add(offset=0.5).taken
    everything = bench.streamer.scheduled(RobotState(stamp_s, bench.state().positions), 0)
    behind = bench.streamer.scheduled(RobotState(stamp_s, bench.state().positions), 3)
    np.testing.assert_allclose(behind, everything[3:])
    later = bench.streamer.scheduled(RobotState(stamp_s + STEP_S, bench.state().positions), 2)
    np.testing.assert_allclose(later, behind, atol=1e-9)
    assert bench.streamer.scheduled(bench.state(), len(everything)) is None


def test_a_promise_does_not_keep_the_robot_from_holding(bench):
    bench.start()
    bench.add(offset=1.0, age_s=0.3)
    bench.run(0.6)
    bench.streamer.prefix(bench.now_s, bench.state())
    bench.streamer.hold(bench.now_s, "stop")
    bench.run(0.5)
    assert bench.speed() < 0.005


# --- counters -----------------------------------------------------------------------------------------------


def test_a_robot_that_never_lacks_rows_never_waits(bench):
    bench.start()
    for _ in range(10):
        bench.add(offset=0.1, age_s=0.2)
        bench.run(0.3)
    counters = bench.streamer.counters
    assert counters.chunks_taken == 10 and counters.waiting_s == 0.0
    assert counters.rows_taken + counters.rows_dropped == 160
    assert counters.plan_failures == 0


def test_the_time_without_rows_counts_as_waiting(bench):
    bench.start()
    bench.add()
    bench.run(2.0)
    assert bench.streamer.counters.waiting_s == pytest.approx(0.5, abs=0.011)
    bench.add()
    bench.run(1.0)
    assert bench.streamer.counters.waiting_s == pytest.approx(0.5, abs=0.011)


def test_every_start_counts_anew(bench):
    bench.start()
    bench.add()
    bench.run(0.2)
    bench.streamer.hold(bench.now_s, "over")
    assert bench.streamer.counters.holds == 1
    bench.run(1.0)
    bench.start()
    assert bench.streamer.counters.chunks_taken == 0 and bench.streamer.counters.holds == 0


def test_stamps_are_whole_nanoseconds(bench):
    bench.now_s = 1_790_000_000.123
    bench.start()
    bench.add()
    bench.run(0.2)
    for _, out in bench.sent:
        stamp = out["gripper_controller"].stamp_s / KNOT_S
        assert stamp == round(stamp)
