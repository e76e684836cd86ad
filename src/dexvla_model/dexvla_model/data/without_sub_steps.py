"""Frames whose sub-steps are hidden, to see what sub-steps are worth."""

import numpy as np

from dexvla_model.data.source import ConcatenatedFrames


class FramesWithoutSubSteps(ConcatenatedFrames):
    """The same frames with the instruction in place of every sub-step, "done" included."""

    def sub_steps_of(self, frames: np.ndarray) -> list[str]:
        return self.instructions_of(frames)

    def texts(self) -> list[str]:
        return self.instructions_of(np.arange(len(self)))
