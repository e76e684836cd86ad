"""How often something comes, over the last two seconds."""

import pytest

from dexvla_ros.recording.rates import Rates


def test_a_steady_topic_has_its_rate_and_one_that_stops_falls_to_zero():
    rates = Rates()
    for tenth in range(51):
        found = rates.update(tenth / 10, {"a": 3 * tenth})
    assert found["a"] == pytest.approx(30.0)
    for tenth in range(51, 81):
        found = rates.update(tenth / 10, {"a": 150})
    assert found["a"] == 0.0


def test_what_is_new_and_a_clock_that_is_set_back_give_no_nonsense():
    rates = Rates()
    assert rates.update(5.0, {"a": 100}) == {"a": 0.0}
    assert rates.update(5.0, {"a": 101}) == {"a": 0.0}
    assert rates.update(5.5, {"a": 110, "b": 7})["b"] == 0.0
    assert rates.update(1.0, {"a": 120}) == {"a": 0.0}
