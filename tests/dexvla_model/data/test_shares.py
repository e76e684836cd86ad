"""How a batch is parted among embodiments."""

import numpy as np
import pytest

from dexvla_model.data.order import FrameOrder, MixtureOrder
from dexvla_model.data.shares import BatchShares
from dexvla_model.errors import UserError


@pytest.mark.parametrize(
    ("weights", "batch_size"),
    [([2.0, 1.0], 8), ([5.0, 3.0, 1.0, 0.01], 8), ([1.0, 1.0], 1), ([1.0, 1.0, 1.0], 10), ([7.0], 6)],
)
def test_shares_follow_the_weights_no_matter_how_long_a_run_is(weights, batch_size):
    shares = BatchShares(weights, batch_size, seed=3)
    exact = batch_size * np.array(weights) / sum(weights)
    counts = np.stack([shares.counts(step) for step in range(3000)])
    assert (counts.sum(axis=1) == batch_size).all()
    assert (counts >= np.floor(exact)).all() and (counts <= np.ceil(exact)).all()
    taken = counts.cumsum(axis=0)
    assert np.abs(taken - np.arange(1, 3001)[:, None] * exact).max() < 4
    assert np.abs(shares.before(1_000_000) - 1_000_000 * exact).max() < 4


def test_an_embodiment_of_small_weight_has_its_turn_regularly():
    shares = BatchShares([199.0, 1.0], batch_size=4, seed=0)
    turns = [step for step in range(2000) if shares.counts(step)[1]]
    assert len(turns) == pytest.approx(2000 * 4 / 200, abs=2)
    # Fifty steps are one turn's worth.
    assert max(np.diff(turns)) < 150


def test_the_frames_taken_before_a_step_are_those_of_all_steps_before_it():
    shares = BatchShares([3.0, 2.0, 0.3], 7, seed=1)
    total = np.zeros(3, dtype=np.int64)
    seen = {}
    for step in range(5000):
        seen[step] = total.copy()
        total += shares.counts(step)
    fresh = BatchShares([3.0, 2.0, 0.3], 7, seed=1)
    for step in (4999, 0, 4096, 4095, 17):
        np.testing.assert_array_equal(fresh.before(step), seen[step])


def test_the_seed_says_which_steps_round_up():
    first, second = (BatchShares([1.0, 1.0, 1.0], 4, seed) for seed in (1, 2))
    assert any((first.counts(step) != second.counts(step)).any() for step in range(20))


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan")])
def test_a_weight_that_is_no_share_is_refused(weight):
    with pytest.raises(UserError, match="weights.*above 0"):
        BatchShares([1.0, weight], 4, 0)


@pytest.mark.parametrize("order", [FrameOrder(11, 4, 5), MixtureOrder([7, 5], [1.0, 2.0], 4, 5)])
def test_frames_that_are_taken_in_portions_are_those_of_the_batches(order):
    batches = np.concatenate([order.batch(step) for step in range(10)])
    portions = np.concatenate([order.taken(first, count) for first, count in ((0, 3), (3, 20), (23, 17))])
    np.testing.assert_array_equal(portions, batches)
