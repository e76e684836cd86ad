"""Numbers as bins, chunks as knots."""

import numpy as np
import pytest
import torch

from dexvla_model.baselines.bins import between_knots, from_bins, knot_rows, to_bins


@pytest.mark.parametrize("bins", [2, 256])
def test_every_bin_comes_back_and_no_action_moves_further_than_half_a_bin(bins):
    every = torch.arange(bins)
    assert torch.equal(to_bins(from_bins(every, bins), bins), every)
    actions = torch.linspace(-1, 1, 10_001)
    assert (from_bins(to_bins(actions, bins), bins) - actions).abs().max() <= 1 / bins + 1e-6


def test_bins_are_equal_parts_of_the_range():
    """The rule of OpenVLA on [-1, 1], by numpy's digitize."""
    actions = np.random.default_rng(0).uniform(-1, 1, 5000)
    expected = np.digitize(actions, np.linspace(-1, 1, 257)) - 1
    assert np.array_equal(to_bins(torch.from_numpy(actions), 256).numpy(), expected)


def test_what_is_outside_falls_into_the_last_bin():
    assert to_bins(torch.tensor([-1.5, -1.0, 1.0, 7.0]), 256).tolist() == [0, 0, 255, 255]


@pytest.mark.parametrize(
    ("horizon", "stride", "rows"),
    [(16, 4, [0, 4, 8, 12, 15]), (9, 4, [0, 4, 8]), (3, 1, [0, 1, 2]), (4, 100, [0, 3]), (1, 4, [0])],
)
def test_first_and_last_row_are_always_said(horizon, stride, rows):
    assert knot_rows(horizon, stride) == rows


def test_between_knots_rows_lie_on_straight_lines():
    knots = np.array([[0.0, 4.0], [1.0, 0.0], [3.0, 0.0]])
    between = between_knots(knots, [0, 4, 6], np.array([-1.0, 0.0, 1.0, 4.0, 5.0, 6.0, 9.0]))
    assert between.tolist() == [
        [0.0, 4.0], [0.0, 4.0], [0.25, 3.0], [1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [3.0, 0.0]
    ]
