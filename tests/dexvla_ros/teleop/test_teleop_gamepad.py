"""Joy messages: the dead man's button, the dead zone, staleness, and messages that do not fit."""

import numpy as np
import pytest

from dexvla_ros.teleop.teleop_loop import TeleopState
from dexvla_sim.kinematics import ToolKinematics

DEADMAN, ENGAGE, RELEASE, STOP, CLOSE, FRAME, FASTER = 4, 7, 6, 8, 0, 5, 3


@pytest.fixture(scope="module")
def kinematics(robot):
    return ToolKinematics(robot)


class Pad:
    """A gamepad that reports its state at 50 Hz while time passes."""

    def __init__(self, bench):
        self.bench = bench
        self.axes, self.buttons = np.zeros(8), np.zeros(11, dtype=int)
        self.silent = False
        self._tick = 0
        bench.every_tick = self._report

    def _report(self):
        self._tick += 1
        if self._tick % 2 == 0 and not self.silent:
            self.bench.input.on_joy(self.axes.tolist(), self.buttons.tolist(), self.bench.clock.now_s)

    def hold(self, *buttons, seconds=0.0, **axes):
        self.buttons[:] = 0
        self.buttons[list(buttons)] = 1
        self.axes[:] = 0.0
        for name, value in axes.items():
            self.axes[int(name[1:])] = value
        self.bench.run(seconds)
        return self


@pytest.fixture
def pad(make_bench):
    pad = Pad(make_bench("gamepad"))
    pad.bench.engage()
    return pad


def moved(pad, seconds=0.0):
    """Largest change in rad of any joint from now on for a time."""
    before = pad.bench.positions
    pad.bench.run(seconds)
    return np.abs(pad.bench.positions - before).max()


def test_a_stick_moves_nothing_without_the_dead_mans_button(pad):
    pad.hold(a1=1.0)
    assert moved(pad, 1.0) == 0.0


def test_a_stick_moves_the_tool_straight_while_the_button_is_held(pad, kinematics):
    start = kinematics.forward(pad.bench.positions[:6])[0]
    pad.hold(DEADMAN, a1=1.0, seconds=1.5).hold(seconds=1.0)
    line = kinematics.forward(pad.bench.positions[:6])[0] - start
    assert line[0] > 0.08
    np.testing.assert_allclose(line[1:], 0.0, atol=1e-3)


def test_letting_the_button_go_brings_it_to_rest(pad):
    pad.hold(DEADMAN, a1=1.0, seconds=1.0).hold(a1=1.0, seconds=0.6)
    assert moved(pad, 0.2) < 1e-5


def test_a_gamepad_that_falls_silent_stops_the_robot_and_has_to_be_pressed_anew(pad):
    pad.hold(DEADMAN, a1=1.0, seconds=0.8)
    pad.silent = True
    pad.bench.run(0.9)
    assert moved(pad, 0.2) < 1e-5
    assert "no Joy comes on joy" in pad.bench.loop.reason
    pad.silent = False
    # The button is still held: that is not a decision to go on.
    assert moved(pad, 0.5) < 1e-5
    pad.hold(seconds=0.1).hold(DEADMAN, a1=1.0)
    assert moved(pad, 0.5) > 0.01


def test_a_button_that_is_held_while_the_robot_is_taken_over_does_not_count(pad):
    pad.hold(STOP, seconds=0.5)
    assert pad.bench.loop.state is TeleopState.HOLDING
    pad.hold(DEADMAN, ENGAGE, a1=1.0, seconds=1.5)
    assert pad.bench.loop.state is TeleopState.READY
    pad.hold(DEADMAN, a1=1.0)
    assert moved(pad, 0.5) == pytest.approx(0.0, abs=1e-9)


def test_within_the_dead_zone_nothing_moves_and_beyond_it_speed_grows_from_zero(pad):
    pad.hold(DEADMAN, a1=0.12)
    assert moved(pad, 0.5) == 0.0
    pad.hold(DEADMAN, a1=0.2, seconds=0.5)
    slow = moved(pad, 0.5)
    pad.hold(DEADMAN, a1=1.0, seconds=0.5)
    assert 0.0 < slow < 0.2 * moved(pad, 0.5)


def test_the_scale_turns_an_axis_round(pad, kinematics):
    start = kinematics.forward(pad.bench.positions[:6])[1]
    pad.hold(DEADMAN, a6=1.0, seconds=1.0).hold(seconds=0.8)
    turned = kinematics.forward(pad.bench.positions[:6])[1] @ start.T
    assert turned[2, 1] < -0.05


def test_buttons_close_the_gripper_change_frame_and_speed_and_hand_back(pad):
    pad.hold(DEADMAN, CLOSE, seconds=0.8).hold(seconds=0.5)
    assert pad.bench.positions[6] > 0.1
    pad.hold(FRAME, seconds=0.1)
    assert pad.bench.source.mode == "tool"
    speed = pad.bench.source.speed
    pad.hold(FASTER, seconds=0.2).hold(seconds=0.1)
    assert pad.bench.source.speed == pytest.approx(1.25 * speed)
    pad.hold(RELEASE, seconds=1.0)
    assert pad.bench.loop.state is TeleopState.RELEASED


@pytest.mark.parametrize(
    ("axes", "buttons", "words"),
    [
        ([0.0] * 4, [0] * 11, "on axis 4, but Joy has 4 axes"),
        ([0.0] * 8, [0] * 4, "deadman is on button 4, but Joy has 4 buttons"),
        ([0.0, float("nan"), *[0.0] * 6], [0] * 11, "axis 1 of Joy is nan"),
    ],
)
def test_a_message_that_does_not_fit_holds_the_robot(pad, axes, buttons, words):
    pad.hold(DEADMAN, a1=1.0, seconds=0.5)
    pad.silent = True
    pad.bench.input.on_joy(axes, buttons, pad.bench.clock.now_s)
    pad.bench.run(0.8)
    assert pad.bench.loop.state is TeleopState.HOLDING
    assert words in pad.bench.loop.reason
    assert moved(pad, 0.2) < 1e-6
