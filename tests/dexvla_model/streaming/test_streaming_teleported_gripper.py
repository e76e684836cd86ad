"""A robot that something else has moved, gripper and all: the controllers get time for both."""

import numpy as np
import pytest

from dexvla_model.observation import RobotState
from dexvla_model.policy import ActionChunk
from dexvla_model.robot import load_robot
from dexvla_model.streaming import ActionStreamer

GRIPPER = 6


@pytest.mark.parametrize(
    ("moved_rad", "arm_rad", "command_rad", "shortest_s"),
    [
        # Nothing has moved: it goes on at once.
        (0.0, 0.0, 0.6, 0.0),
        # Somebody has moved the arm a little, and the gripper may hold something: its command is kept.
        (0.6, 0.06, 0.6, 2.2),
        # No motion explains it, such as the reset of a simulation: what the gripper held is not there any more.
        (0.6, 0.5, 0.0, 2.2),
    ],
)
def test_a_restart_waits_for_a_gripper_that_was_moved_with_its_arm(moved_rad, arm_rad, command_rad, shortest_s):
    robot = load_robot("ur5e")
    streamer = ActionStreamer(robot)
    now_s = 100.0

    def run(duration_s: float, positions: np.ndarray | None = None) -> list:
        nonlocal now_s
        sent = []
        for _ in range(round(duration_s / 0.01)):
            now_s += 0.01
            command = streamer.command(now_s)
            where = robot.home_positions if command is None else command
            streamer.observe(RobotState(now_s, where if positions is None else positions))
            message = streamer.messages(now_s)
            if message is not None:
                sent.append((now_s, message["gripper_controller"]))
        return sent

    streamer.start(now_s)
    run(0.6)
    closed = np.tile(streamer.command(now_s), (16, 1))
    closed[:, GRIPPER] = 0.6
    streamer.add_chunk(ActionChunk(now_s, 0.1, robot.action_joints, closed), now_s)
    run(3.0)
    streamer.hold(now_s, "the episode is over")
    run(0.5)
    elsewhere = streamer.command(now_s).copy()
    elsewhere[GRIPPER] -= moved_rad
    elsewhere[:GRIPPER] += arm_rad
    run(0.1, elsewhere)
    streamer.start(now_s)
    sent_s, message = run(0.02, elsewhere)[0]
    # The first point is at rest; the controller goes there from its old command, or from where the gripper is.
    assert message.positions[0, 0] == pytest.approx(command_rad, abs=0.01)
    ahead_s = message.stamp_s + message.times_s[0] - sent_s
    # A quintic of 0.6 rad within half of 0.5 rad/s takes 1.875 * 0.6 / 0.25 s.
    assert shortest_s <= ahead_s < shortest_s + 3.0
    if moved_rad:
        assert ahead_s >= 1.875 * moved_rad / 0.25
