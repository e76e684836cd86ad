"""The order in which training takes frames."""

import numpy as np

from dexvla_model.data.order import FrameOrder


def test_every_frame_is_taken_once_an_epoch():
    order = FrameOrder(frame_count=10, batch_size=5, seed=0)
    np.testing.assert_array_equal(np.sort(np.concatenate([order.batch(0), order.batch(1)])), np.arange(10))


def test_batches_that_straddle_epochs_are_full():
    order = FrameOrder(frame_count=7, batch_size=5, seed=0)
    taken = np.concatenate([order.batch(step) for step in range(7)])
    np.testing.assert_array_equal(np.bincount(taken), np.full(7, 5))


def test_the_order_depends_on_seed_and_step_alone():
    order = FrameOrder(100, 8, seed=3)
    expected = [order.batch(step) for step in range(30)]
    np.testing.assert_array_equal(FrameOrder(100, 8, seed=3).batch(29), expected[29])
    assert not np.array_equal(FrameOrder(100, 8, seed=4).batch(29), expected[29])
