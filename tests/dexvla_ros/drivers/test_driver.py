"""What any device gets: limits, holding, faults, switching on, and connections that come and go."""

from dataclasses import replace
from time import monotonic, sleep

import numpy as np
import pytest

from dexvla_ros.drivers.device import BadAnswer, Device, DeviceError, DeviceGone, DeviceState
from dexvla_ros.drivers.driver import Driver
from dexvla_ros.drivers.driver_settings import DriverSettings, JointBounds
from dexvla_ros.drivers.driver_thread import DriverThread

SETTINGS = DriverSettings(
    rate_hz=100.0,
    command_timeout_s=0.2,
    misses_max=3,
    reconnect_first_s=0.5,
    reconnect_max_s=3.0,
    auto_enable=True,
    catch_up=0.25,
    plausible_margin=0.25,
    temperature_warn_c=60.0,
    temperature_max_c=70.0,
)
BOUNDS = JointBounds(np.array([-1.0, 0.0]), np.array([1.0, 2.0]), np.array([1.0, 2.0]))


class FakeDevice(Device):
    """Does what it is told at once; `trouble` is raised by whatever is called next."""

    def __init__(self):
        self.name, self.joints = "hand", ("a", "b")
        self.state = DeviceState(np.array([0.5, 1.0]))
        self.trouble, self.tries, self.open = None, 0, False
        self.calls, self.written = [], []

    def _answer(self):
        if self.trouble is not None:
            raise self.trouble

    def connect(self):
        self.tries += 1
        self._answer()
        self.open = True

    def close(self):
        self.open = False

    def read(self):
        self._answer()
        return self.state

    def write(self, positions):
        self._answer()
        self.written.append(np.array(positions))

    def enable(self):
        self.calls.append("enable")

    def disable(self):
        self.calls.append("disable")
        self.state = replace(self.state, enabled=False)

    def clear_faults(self):
        self._answer()
        self.calls.append("clear")


class Bench:
    """A driver on a fake device, under a clock that the test moves."""

    def __init__(self, settings=SETTINGS, clock=None):
        self.now_s = 100.0
        self.device, self.problems, self.recoveries = FakeDevice(), [], []
        clock = clock or (lambda: self.now_s)
        self.driver = Driver(
            self.device, settings, BOUNDS, self.problems.append, self.recoveries.append, clock
        )

    def step(self, count=1, command=None, period_s=0.01):
        for _ in range(count):
            self.now_s += period_s
            if command is not None:
                self.driver.command(("a", "b"), command)
            state = self.driver.step()
        return state

    @property
    def phase(self):
        return self.driver.phase.value


@pytest.fixture
def bench():
    return Bench()


def test_without_a_command_it_reads_and_writes_nothing(bench):
    state = bench.step(20)
    assert state.positions.tolist() == [0.5, 1.0]
    assert bench.phase == "holding"
    assert not bench.device.written and not bench.problems


def test_commands_are_matched_by_name_and_joints_of_others_are_left_out(bench):
    bench.step()
    for _ in range(500):
        bench.now_s += 0.01
        bench.driver.command(("elbow", "b", "a"), (3.0, 1.2, 0.4))
        bench.driver.step()
    assert bench.device.written[-1] == pytest.approx([0.4, 1.2])


def test_a_command_that_is_far_away_is_approached_at_a_part_of_the_velocity_limits(bench):
    bench.step()
    bench.step(10, command=(-0.5, 1.0))
    travelled = np.diff(np.array([[0.5, 1.0], *bench.device.written]), axis=0)
    assert travelled[:, 0] == pytest.approx(-0.25 * 1.0 * 0.01)
    bench.step(500, command=(-0.5, 1.0))
    assert bench.device.written[-1] == pytest.approx([-0.5, 1.0])
    # Now that it is there, it may move at the limit itself, and never faster.
    bench.step(1, command=(0.5, 2.0))
    assert bench.device.written[-1] - bench.device.written[-2] == pytest.approx([0.01, 0.02])


def test_a_step_that_comes_late_makes_no_jump(bench):
    bench.step()
    bench.step(command=(-1.0, 1.0), period_s=5.0)
    assert bench.device.written[-1][0] == pytest.approx(0.5 - 0.25 * 0.02)


def test_commands_beyond_the_limits_stop_at_them_and_show(bench):
    bench.step(1000, command=(-7.0, 9.0))
    assert bench.device.written[-1] == pytest.approx([-1.0, 2.0])
    assert np.array(bench.device.written).min() >= -1.0
    assert bench.problems == ["hand: commands beyond the limits of a, b."]


@pytest.mark.parametrize(
    ("names", "positions", "reason"),
    [
        (("a", "b"), (float("nan"), 1.0), "nan for a"),
        (("a", "b"), (0.0, float("inf")), "inf for b"),
        (("a",), (0.0,), "lacks b"),
        (("a", "a", "b"), (0.0, 0.0, 1.0), "names a twice"),
        (("a", "b"), (0.0,), "2 names and 1 positions"),
    ],
)
def test_what_is_no_command_is_refused_and_the_device_holds(bench, names, positions, reason):
    bench.step()
    for _ in range(50):
        bench.now_s += 0.01
        bench.driver.command(names, positions)
        bench.driver.step()
    assert not bench.device.written and bench.phase == "holding"
    assert len(bench.problems) == 1 and reason in bench.problems[0]
    assert bench.driver.status().severe


def test_when_commands_end_it_holds_and_says_so_once_and_goes_on_with_the_next(bench):
    bench.step(50, command=(0.45, 1.0))
    written = len(bench.device.written)
    bench.step(100)
    assert bench.phase == "holding"
    assert len(bench.device.written) - written <= 21  # the timeout, and where to hold
    assert bench.device.written[-1] == pytest.approx(bench.device.written[-2])
    assert bench.problems == ["hand: holds: no command for more than 0.2 s."]
    bench.step(5, command=(0.45, 1.0))
    assert bench.phase == "following" and bench.recoveries == ["hand is all right again."]


def test_a_lost_answer_is_borne_and_nothing_is_written_without_a_fresh_state(bench):
    bench.step(10, command=(0.4, 1.0))
    written = len(bench.device.written)
    bench.device.trouble = BadAnswer("no answer")
    assert bench.step(2, command=(0.4, 1.0)) is None
    bench.device.trouble = None
    assert len(bench.device.written) == written and bench.device.open and not bench.problems
    assert bench.step(1, command=(0.4, 1.0)) is not None
    assert bench.driver.status().values["answers lost"] == 2


def test_too_many_lost_answers_end_the_connection_and_it_is_tried_again_less_and_less_often(bench):
    bench.step(10, command=(0.4, 1.0))
    bench.device.trouble = BadAnswer("no answer")
    bench.step(3)
    assert bench.phase == "disconnected" and not bench.device.open
    assert bench.problems == ["hand: no answer, 3 times in a row; tries again."]
    bench.device.trouble = DeviceGone("cannot be opened")
    tries = []
    for _ in range(20):
        before = bench.device.tries
        bench.step(period_s=0.25)
        tries.append(bench.device.tries - before)
    moments = np.flatnonzero(tries) * 0.25
    pauses = np.diff(moments)
    assert np.all(np.diff(pauses) >= 0.0) and pauses[-1] >= 2.0 * pauses[0] and pauses[-1] <= 3.25
    assert bench.problems == bench.problems[:1], "one line for one failure"
    assert "cannot be opened" in bench.driver.status().problem


def test_after_a_reconnection_it_starts_where_the_device_is_now(bench):
    bench.step(300, command=(-0.5, 1.0))
    bench.device.trouble = DeviceGone("unplugged")
    bench.step(command=(-0.5, 1.0))
    bench.device.trouble = None
    bench.device.state = DeviceState(np.array([0.9, 0.1]))
    bench.device.written.clear()
    bench.step(60, command=(-0.5, 1.0))
    assert bench.phase == "following"
    assert np.abs(bench.device.written[0] - [0.9, 0.1]).max() <= 0.02
    assert bench.recoveries == ["hand is all right again."]


@pytest.mark.parametrize("nonsense", [np.nan, np.inf, 7.0, -3.0])
def test_a_position_far_out_of_the_limits_is_no_answer(bench, nonsense):
    bench.step()
    bench.device.state = DeviceState(np.array([nonsense, 1.0]))
    assert bench.step(3, command=(0.4, 1.0)) is None
    assert not bench.device.written
    assert "a is measured at" in bench.problems[0]


def test_a_fault_stops_it_where_it_is_and_it_goes_on_when_the_fault_is_gone(bench):
    bench.step(300, command=(0.0, 1.0))
    bench.device.state = DeviceState(np.array([0.3, 1.0]), faults=("a: stall",))
    bench.device.written.clear()
    bench.step(50, command=(0.0, 1.0))
    assert [row.tolist() for row in bench.device.written] == [[0.3, 1.0]], "told once where to hold"
    assert bench.phase == "fault"
    assert bench.problems == ["hand: holds: a: stall; mend the cause and call clear_faults."]
    assert bench.driver.clear_faults()[0] and bench.device.calls == ["clear"]
    bench.device.state = DeviceState(np.array([0.3, 1.0]))
    bench.step(2, command=(0.0, 1.0))
    assert bench.phase == "following"
    assert np.abs(bench.device.written[1] - [0.3, 1.0]).max() <= 0.02


def test_a_motor_that_is_too_hot_rests_until_it_is_cooler(bench):
    def at(temperature_c):
        bench.device.state = DeviceState(np.array([0.5, 1.0]), temperatures_c={"a": temperature_c})
        bench.step(2, command=(0.4, 1.0))
        return bench.phase

    assert at(40.0) == "following" and at(65.0) == "following"
    assert "warmer than 60 C: a" in bench.problems[0]
    assert at(71.0) == "fault" and "a is at 71 C" in bench.problems[1]
    assert at(68.0) == "fault"
    assert at(64.0) == "following"
    assert at(40.0) == "following" and len(bench.recoveries) == 1


def test_motors_without_power_are_switched_on_but_not_again_and_again(bench):
    bench.device.state = DeviceState(np.array([0.5, 1.0]), enabled=False)
    bench.step(150, command=(0.4, 1.0))
    assert bench.device.calls == ["enable", "enable"] and not bench.device.written
    bench.step(150)
    assert bench.problems == ["hand: the motors are off and do not switch on; look at the power."]
    bench.device.state = DeviceState(np.array([0.5, 1.0]))
    bench.step(2, command=(0.4, 1.0))
    assert bench.phase == "following"


def test_motors_wait_for_the_service_where_the_file_says_so():
    bench = Bench(replace(SETTINGS, auto_enable=False))
    bench.device.state = DeviceState(np.array([0.5, 1.0]), enabled=False)
    bench.step(300, command=(0.4, 1.0))
    assert not bench.device.calls and "call enable" in bench.driver.status().problem
    assert bench.driver.enable(True)[0] and bench.device.calls == ["enable"]


def test_switched_off_by_the_service_it_stays_off(bench):
    bench.step(5, command=(0.4, 1.0))
    assert bench.driver.enable(False)[0]
    bench.step(300, command=(0.4, 1.0))
    assert bench.device.calls == ["disable"] and bench.phase == "disabled"
    assert bench.driver.enable(True)[0]
    bench.device.state = replace(bench.device.state, enabled=True)
    bench.step(2, command=(0.4, 1.0))
    assert bench.phase == "following"


def test_services_say_why_they_could_not(bench):
    bench.device.trouble = DeviceGone("unplugged")
    bench.step()
    assert bench.driver.enable(True) == (False, "unplugged; tries again")
    bench.device.trouble = None
    bench.step(100)
    bench.device.trouble = DeviceError("cannot be cleared")
    assert bench.driver.clear_faults() == (False, "cannot be cleared")


def test_closing_holds_where_it_was_sent_last(bench):
    bench.step(10, command=(0.0, 1.0))
    last = bench.device.written[-1]
    bench.driver.close()
    assert bench.device.written[-1].tolist() == last.tolist() and not bench.device.open


def test_the_thread_goes_on_after_a_bug_and_says_what_it_was():
    bench = Bench(replace(SETTINGS, reconnect_first_s=0.01, reconnect_max_s=0.01), monotonic)
    bench.device.trouble = ZeroDivisionError("in a library")
    states, errors = [], []
    thread = DriverThread(bench.driver, 200.0, states.append, errors.append)
    thread.start()
    _wait(lambda: errors)
    bench.device.trouble = None
    _wait(lambda: states)
    thread.stop()
    assert "ZeroDivisionError: in a library" in bench.problems[0]
    assert not bench.device.open


def _wait(condition):
    end_s = monotonic() + 20.0
    while not condition():
        assert monotonic() < end_s
        sleep(0.005)
