"""What the tests of planned motion share: a planner, and a robot that follows what it is sent."""

import numpy as np
import pytest

from dexvla_model.observation import RobotState
from dexvla_model.streaming import ActionStreamer, StreamSettings
from dexvla_ros.command_watch import CommandWatch
from dexvla_ros.motion.goals import named_poses
from dexvla_ros.motion.move_loop import MoveLoop
from dexvla_ros.motion.obstacles import parse_obstacles
from dexvla_ros.motion.planner import EmbeddedPlanner, PlannerSettings
from dexvla_ros.motion.refusal import MotionRefused
from dexvla_ros.teleop.settings import TELEOP_STREAM

TICK_S = 0.01
HANDS = StreamSettings().compliant_controllers
# Between the two sides of it the straight way of the arm is blocked.
POST = "post 0.5 0.0 0.3 0.1 0.1 0.6"


@pytest.fixture(scope="session")
def planner(robot):
    return EmbeddedPlanner(robot, PlannerSettings(compliant_controllers=HANDS))


@pytest.fixture(scope="session")
def planner_with_post(robot):
    boxes = parse_obstacles([POST], "the test")
    return EmbeddedPlanner(robot, PlannerSettings(20.0, HANDS, boxes))


class Bench:
    """A loop, and a controller that plays what it is sent; time goes in steps of 10 ms."""

    def __init__(self, robot, planner, clock):
        self.robot, self.planner, self.clock = robot, planner, clock
        self.watch = CommandWatch(robot)
        self.loop = MoveLoop(
            ActionStreamer(robot, TELEOP_STREAM), self, clock, self.watch, named_poses(robot)
        )
        self.positions = robot.home_positions.copy()
        self.sent, self.ended, self.track = [], [], []
        self.paused, self.frozen, self.stuck, self.other = False, False, False, ""
        self.run(0.5)

    def is_connected(self):
        return True

    def send(self, trajectories):
        self.sent.append(trajectories)

    def pause_policies(self):
        self.paused = True

    def policies_problem(self):
        return ""

    def resume_policies(self):
        self.paused = False

    def on_change(self):
        pass

    def other_commander(self):
        return self.other

    def plan_in_background(self, start, goal, on_done):
        try:
            on_done(self.planner.plan(start, goal), None)
        except MotionRefused as refusal:
            on_done(None, refusal)

    def on_end(self, move):
        self.ended.append(move)

    def run(self, seconds, until=lambda: False):
        for _ in range(round(seconds / TICK_S)):
            self.clock.now_s += TICK_S
            now_s = self.clock.now_s
            if self.sent and not self.stuck:
                self.positions = self.commanded(now_s)
            self.track.append(self.positions)
            if not self.frozen:
                self.loop.on_state(RobotState(now_s, self.positions))
            self.loop.check()
            if until():
                break
        return self

    def commanded(self, time_s):
        positions = self.positions.copy()
        for trajectory in self.sent[-1].values():
            columns = [self.robot.action_joints.index(joint) for joint in trajectory.joints]
            if time_s >= trajectory.stamp_s:
                positions[columns] = trajectory.spline().sample(time_s - trajectory.stamp_s)[0]
        return positions

    def move(self, goal, seconds=30.0):
        """Begin a goal and wait for its end; the move."""
        self.loop.begin(goal)
        self.run(seconds, until=lambda: bool(self.ended))
        return self.ended.pop()

    def tracked(self):
        """(N, A) rad at every tick since the last call."""
        track, self.track = np.stack(self.track), []
        return track


@pytest.fixture
def bench(robot, planner, clock):
    return Bench(robot, planner, clock)
