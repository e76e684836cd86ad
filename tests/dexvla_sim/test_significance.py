"""Intervals and paired tests at points whose values are known."""

import numpy as np
import pytest

from dexvla_sim.significance import mean_interval, paired_difference, success_interval


def test_wilsons_interval_at_known_points():
    # Wilson (1927), as tabulated by Newcombe (1998): 81 of 263.
    assert success_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert success_interval(0, 10)[0] == 0.0


def test_the_bootstrap_agrees_with_the_normal_interval_of_a_large_sample():
    values = np.random.default_rng(3).normal(0.6, 0.2, 400)
    half = 1.96 * values.std() / 20.0
    assert mean_interval(values) == pytest.approx((values.mean() - half, values.mean() + half), abs=2e-3)


def test_mcnemars_exact_p_value():
    # 9 against 1 discordant pairs: 2 (1 + 10) / 2^10.
    first = [(True, 1.0)] * 9 + [(False, 0.25)] + [(True, 1.0)] * 10
    second = [(False, 0.5)] * 9 + [(True, 1.0)] + [(True, 1.0)] * 10
    difference = paired_difference(first, second)
    assert (difference.only_first, difference.only_second) == (9, 1)
    assert difference.p_value == pytest.approx(22 / 1024)
    assert difference.success == pytest.approx(0.4)
    assert difference.score == pytest.approx((9 * 0.5 - 0.75) / 20)
    low, high = difference.success_interval
    assert 0.0 < low < 0.4 < high


def test_two_that_are_alike_do_not_differ():
    difference = paired_difference([(True, 1.0), (False, 0.5)], [(True, 1.0), (False, 0.5)])
    assert difference.p_value == 1.0 and difference.score_interval == (0.0, 0.0)


def test_what_has_no_pair_is_refused():
    with pytest.raises(ValueError, match="2 with 1"):
        paired_difference([(True, 1.0), (True, 1.0)], [(True, 1.0)])
