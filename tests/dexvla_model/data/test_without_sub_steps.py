"""The ablation's frames say the instruction instead of sub-steps, and are the same otherwise."""

from pathlib import Path

import numpy as np
import pytest

from dexvla_model.data.without_sub_steps import FramesWithoutSubSteps
from dexvla_model.errors import UserError
from dexvla_model.resources import find_resource
from dexvla_model.training.config import DEMONSTRATED, INSTRUCTION, load_training_config


class Source:
    """Three frames of two episodes."""

    objects = ("cube",)
    last_frame = np.array([1, 1, 2])
    stride = 1
    horizon = 4

    def __len__(self):
        return 3

    def states_of(self, frames):
        return np.asarray(frames, dtype=np.float32)[..., None]

    def grounding_of(self, frames):
        return np.zeros((len(frames), 1, 5), dtype=np.uint8)

    def instructions_of(self, frames):
        return [("clear the table", "clear the table", "tidy up")[frame] for frame in frames]

    def sub_steps_of(self, frames):
        return [("reach the cup", "done", "reach the can")[frame] for frame in frames]

    def texts(self):
        return [*self.instructions_of(range(3)), *self.sub_steps_of(range(3))]


def test_the_instruction_stands_in_place_of_every_sub_step():
    frames = FramesWithoutSubSteps([Source(), Source()])
    assert frames.sub_steps_of(np.array([1, 2, 5])) == ["clear the table", "tidy up", "tidy up"]
    assert set(frames.texts()) == {"clear the table", "tidy up"}


def test_the_rest_is_that_of_the_source():
    frames = FramesWithoutSubSteps([Source(), Source()])
    assert len(frames) == 6 and frames.objects == ("cube",)
    np.testing.assert_array_equal(frames.states_of(np.array([[4, 0]])), [[[1.0], [0.0]]])
    assert frames.grounding_of(np.array([3])).shape == (1, 1, 5)


def test_a_training_file_chooses():
    path = Path(find_resource("config/training/pick_place_tiny.yaml"))
    assert load_training_config(path).sub_steps == DEMONSTRATED
    assert load_training_config(path, ["sub_steps=instruction"]).sub_steps == INSTRUCTION
    with pytest.raises(UserError, match="sub_steps is 'none', but allowed are demonstrated, instruction"):
        load_training_config(path, ["sub_steps=none"])
