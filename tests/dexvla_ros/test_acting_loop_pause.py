"""The policy gives the controllers up, and takes them back where others have left them."""

import numpy as np
import pytest

from dexvla_model.observation import RobotState
from dexvla_model.policy import ActionChunk, SubStep
from dexvla_model.streaming import ActionStreamer, JointTrajectory, StreamState
from dexvla_ros.acting_loop import ActingLoop
from dexvla_ros.command_watch import CommandWatch

TICK_S = 0.02


class Listener:
    def __init__(self):
        self.sent = []

    def is_connected(self):
        return True

    def send(self, trajectories):
        self.sent.append(trajectories)

    def on_chunk(self, *arguments):
        pass

    def on_problem(self, reason):
        pass


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
    )


def pass_time(loop, policy, clock, seconds, where=None):
    """Joint states, sub-steps, and a chunk that moves on for every request."""
    robot = loop.streamer.robot
    for _ in range(round(seconds / TICK_S)):
        clock.now_s += TICK_S
        command = loop.streamer.command(clock.now_s)
        positions = where if where is not None else robot.home_positions if command is None else command
        loop.on_state(RobotState(clock.now_s, positions))
        loop.on_sub_step(SubStep("reach", np.zeros(1, np.float32), clock.now_s), 1, "tiny")
        loop.check()
        while policy.asked("act"):
            state = policy.asked("act")[0][1]
            rows = state.positions + np.linspace(0.0, 0.1, 16)[:, None]
            policy.answer("act", ActionChunk(state.stamp_s, 0.1, robot.action_joints, rows))


def test_a_pause_brakes_and_nothing_is_sent_until_it_goes_on(loop, policy, listener, clock, robot):
    pass_time(loop, policy, clock, 2.0)
    assert loop.streamer.status.state is StreamState.STREAMING
    loop.pause("paused: another node has the controllers")
    assert loop.streamer.status.state is StreamState.STOPPED
    last = listener.sent[-1]
    assert all(not np.any(trajectory.velocities[-1]) for trajectory in last.values())
    pass_time(loop, policy, clock, 2.0)
    assert listener.sent[-1] is last
    assert not loop.acting


def test_it_goes_on_from_where_others_have_left_the_controllers(loop, policy, listener, clock, robot):
    pass_time(loop, policy, clock, 2.0)
    loop.pause("paused: another node has the controllers")
    pass_time(loop, policy, clock, 1.0)
    # Another node moved the arm by 0.3 rad, and closes the gripper on something.
    watch = CommandWatch(robot)
    left = robot.home_positions + 0.3
    left[6] = 0.7
    for controller in robot.controllers:
        rows = left[[robot.action_joints.index(joint) for joint in controller.joints]][None]
        command = JointTrajectory(controller.joints, clock.now_s, [0.1], rows)
        watch.heard(controller.name, command, clock.now_s)
    measured = left.copy()
    measured[6] = 0.4
    listener.sent.clear()
    loop.resume(watch)
    pass_time(loop, policy, clock, 0.04, where=measured)
    first = {j: p for t in listener.sent[0].values() for j, p in zip(t.joints, t.positions[0])}
    np.testing.assert_allclose([first[joint] for joint in robot.action_joints], left, atol=1e-6)
    pass_time(loop, policy, clock, 1.5)
    assert loop.streamer.status.state is StreamState.STREAMING


def test_after_a_pause_before_any_command_it_starts_where_the_robot_is(
    loop, policy, listener, clock, robot
):
    loop.pause("paused: another node has the controllers")
    where = robot.home_positions + 0.1
    pass_time(loop, policy, clock, 0.5, where=where)
    assert listener.sent == []
    loop.resume(CommandWatch(robot))
    pass_time(loop, policy, clock, 0.04, where=where)
    first = {j: p for t in listener.sent[0].values() for j, p in zip(t.joints, t.positions[0])}
    np.testing.assert_allclose([first[joint] for joint in robot.action_joints], where, atol=1e-6)
