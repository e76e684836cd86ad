"""When a task counts as finished, and which sub-steps it went through."""

import numpy as np

from dexvla_model.policy import SubStep
from dexvla_model.task_progress import TaskProgress


def said(text: str, stamp_s: float) -> SubStep:
    return SubStep(text, np.zeros(1, np.float32), stamp_s, finished=text == "done")


def test_repeats_are_collapsed():
    progress = TaskProgress()
    new = [progress.add(said(text, 0.1 * index)) for index, text in enumerate(["a", "a", "b", "a"])]
    assert progress.sub_steps == ["a", "b", "a"]
    assert new == [True, False, True, True]


def test_one_slip_of_the_tongue_does_not_end_the_task():
    progress = TaskProgress(confirmations=3, confirm_s=0.5)
    for index, text in enumerate(["done", "done", "a", "done", "done"]):
        progress.add(said(text, float(index)))
        assert not progress.finished


def test_done_has_to_last():
    progress = TaskProgress(confirmations=2, confirm_s=0.5)
    for stamp_s in (1.0, 1.1, 1.2, 1.4):
        progress.add(said("done", stamp_s))
        assert not progress.finished
    progress.add(said("done", 1.5))
    assert progress.finished
