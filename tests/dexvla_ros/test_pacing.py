"""Simulated time follows real time and never leads it."""

import pytest

from dexvla_ros.pacing import Pacer, RealTimeFactor


def run(pacer: Pacer, real_times_s) -> float:
    """Simulated time after looks at these real times."""
    return sum(pacer.due_steps(real_s) for real_s in real_times_s) * pacer.step_s


def test_simulated_time_keeps_up_with_real_time():
    assert run(Pacer(0.01), [number * 0.005 for number in range(2001)]) == pytest.approx(10.0, abs=0.011)


def test_simulated_time_is_never_ahead():
    pacer, simulated_s = Pacer(0.01), 0.0
    for number in range(1000):
        real_s = number * 0.0037
        simulated_s += pacer.due_steps(real_s) * 0.01
        assert simulated_s <= real_s + 1e-9


def test_a_factor_slows_it_down():
    assert run(Pacer(0.01, 0.25), [number * 0.005 for number in range(2001)]) == pytest.approx(2.5, abs=0.011)


def test_a_short_delay_is_made_good():
    assert run(Pacer(0.01), [0.0, 0.01, 0.05, 0.06]) == pytest.approx(0.06)


def test_a_long_delay_is_lost_and_not_made_good_by_a_rush():
    pacer = Pacer(0.01, catch_up_s=0.05)
    pacer.due_steps(0.0)
    assert pacer.due_steps(5.0) == 5
    assert pacer.due_steps(5.01) == 1


def test_a_machine_that_is_too_slow_runs_slower_at_the_same_steps():
    # Every look takes 20 ms, but only one step of 10 ms may be made good.
    assert run(Pacer(0.01, catch_up_s=0.01), [number * 0.02 for number in range(101)]) == pytest.approx(1.0)


def test_a_pause_is_not_made_good_after_a_restart():
    pacer = Pacer(0.01)
    pacer.due_steps(0.0)
    pacer.restart()
    assert pacer.due_steps(100.0) == 0


def test_the_real_time_factor_is_measured_over_its_window():
    factor = RealTimeFactor(window_s=1.0)
    for number in range(21):
        factor.update(number * 0.1, number * 0.05)
    assert factor.value == pytest.approx(0.5)
