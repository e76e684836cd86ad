"""What the middleware lost, by the publishers' sequence numbers."""

import random

import pytest

from dexvla_ros.recording.sequence_tracker import SequenceTracker


def lost(sequences, publishers=1) -> int:
    tracker = SequenceTracker()
    for sequence in sequences:
        tracker.observe(sequence, publishers)
    return tracker.lost


@pytest.mark.parametrize(
    ("sequences", "expected"),
    [
        ([], 0),
        ([1, 2, 3], 0),
        ([1000, 1001], 0),
        ([1, 2, 5, 6], 2),
        ([1, 3, 5, 7], 3),
        ([8, 9, 1, 2, 3], 0),
        ([8, 9, 1, 3], 1),
    ],
)
def test_one_publisher(sequences, expected):
    assert lost(sequences) == expected


def test_two_publishers_in_step_lose_nothing():
    assert lost([number for number in range(1, 50) for _ in range(2)], publishers=2) == 0


@pytest.mark.parametrize("seed", range(20))
def test_whatever_two_publishers_lose_is_counted(seed):
    random.seed(seed)
    first, second = list(range(1, 300)), list(range(50_000, 50_300))
    merged, dropped = [first.pop(0), second.pop(0)], 0
    while first or second:
        stream = random.choice([stream for stream in (first, second) if stream])
        sequence = stream.pop(0)
        # The last ones of a stream cannot be missed.
        if random.random() < 0.1 and len(stream) > 5:
            dropped += 1
        else:
            merged.append(sequence)
    assert lost(merged, publishers=2) == dropped


def test_a_loss_before_all_publishers_are_known_raises_no_false_alarm():
    assert lost([1, 2, 4, 50_000, 5, 50_001, 6, 50_002], publishers=2) <= 1


def test_a_publisher_that_joins_is_nothing_lost():
    tracker = SequenceTracker()
    for sequence in (1, 2, 3):
        tracker.observe(sequence, 1)
    for sequence in (700, 4, 701, 5):
        tracker.observe(sequence, 2)
    assert tracker.lost == 0


def test_a_publisher_that_left_does_not_hide_a_loss():
    tracker = SequenceTracker()
    for sequence in (10, 500, 11, 501, 12, 13, 14, 15):
        tracker.observe(sequence, 2)
    tracker.observe(600, 1)
    assert tracker.lost == 584


def test_a_restart_keeps_the_count_and_forgets_the_publishers():
    tracker = SequenceTracker()
    for sequence in (1, 3):
        tracker.observe(sequence, 1)
    tracker.restart()
    tracker.observe(100, 1)
    assert tracker.lost == 1
