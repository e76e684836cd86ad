"""A bench for teleoperation without ROS: the loop, and a robot that is where it was sent."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from dexvla_model.observation import RobotState
from dexvla_model.streaming import ActionStreamer
from dexvla_ros.command_watch import CommandWatch
from dexvla_ros.teleop.configuration import load_source
from dexvla_ros.teleop.settings import TELEOP_STREAM
from dexvla_ros.teleop.teleop_loop import TeleopLoop, TeleopState

TICK_S = 0.01


@dataclass
class Policies:
    """Stands for the node: what the loop asks of it."""

    connected: bool = True
    problem: str = ""
    paused: bool = False
    sent: list = field(default_factory=list)

    def is_connected(self):
        return self.connected

    def send(self, trajectories):
        self.sent.append(trajectories)

    def pause_policies(self):
        self.paused = True

    def policies_problem(self):
        return self.problem

    def resume_policies(self):
        self.paused = False

    def on_change(self):
        pass


class Bench:
    """A loop and a controller that plays what it is sent; time goes in steps of 10 ms."""

    def __init__(self, robot, source, clock):
        self.robot, self.clock = robot, clock
        self.node = Policies()
        self.watch = CommandWatch(robot)
        self.source = source
        self.loop = TeleopLoop(
            ActionStreamer(robot, TELEOP_STREAM), source, self.node, clock, self.watch
        )
        self.positions = robot.home_positions.copy()
        self.track = []
        self.frozen = False
        self.every_tick = lambda: None

    @property
    def input(self):
        return self.source.input

    def run(self, seconds):
        for _ in range(round(seconds / TICK_S)):
            self.clock.now_s += TICK_S
            now_s = self.clock.now_s
            if self.node.sent:
                self.positions = self.commanded(now_s)
            self.track.append(self.positions)
            if not self.frozen:
                self.loop.on_state(RobotState(now_s, self.positions))
            self.every_tick()
            self.loop.check()
        return self

    def commanded(self, time_s):
        """(A,) of the last message for each controller, as a controller samples it."""
        positions = self.positions.copy()
        for trajectory in self.node.sent[-1].values():
            columns = [self.robot.action_joints.index(joint) for joint in trajectory.joints]
            if time_s >= trajectory.stamp_s:
                positions[columns] = trajectory.spline().sample(time_s - trajectory.stamp_s)[0]
        return positions

    def engage(self):
        self.run(0.3)
        self.loop.engage()
        self.run(1.0)
        assert self.loop.state is TeleopState.READY, self.loop.reason
        return self

    def tracked(self):
        """(N, A) rad at every tick since the last call."""
        track, self.track = np.stack(self.track), []
        return track

    def tap(self, key):
        self.input.press(key, self.clock.now_s)
        self.loop.check()
        return self

    def press(self, key, seconds):
        """Hold a key as a terminal reports it: at once, after 0.3 s, and then 30 times per second."""
        start_s = self.clock.now_s
        next_s = start_s
        while self.clock.now_s < start_s + seconds - 1e-9:
            if self.clock.now_s >= next_s - 1e-9:
                self.tap(key)
                next_s = start_s + 0.3 if next_s == start_s else self.clock.now_s + 1.0 / 30.0
            self.run(TICK_S)
        return self


@pytest.fixture
def make_bench(robot, clock):
    def make(device, path=""):
        return Bench(robot, load_source(device, path, robot, ("gripper_controller",)), clock)

    return make


@pytest.fixture
def keyboard(make_bench):
    """A bench with the keyboard, engaged."""
    return make_bench("keyboard").engage()
