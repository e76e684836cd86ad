"""Batches that mix embodiments: shares, statistics of their own, processes, workers."""

import numpy as np
import pytest
import torch

from dexvla_model.data.augmentation import Augmentation
from dexvla_model.data.shares import BatchShares
from dexvla_model.normalization import Statistics
from dexvla_model.training.batches import BatchBuilder, Shard
from dexvla_model.training.mixture import BatchMixture

BATCH = 7


class Frames:
    """Frames of a robot with `joints` joints and one camera: states and pictures say the frame's number."""

    objects = ()
    stride = 1

    def __init__(self, count: int, joints: int, horizon: int):
        self._count, self._joints, self.horizon = count, joints, horizon
        self.last_frame = np.full(count, count - 1)

    def __len__(self):
        return self._count

    def images_of(self, frames):
        return {f"camera{self._joints}": np.repeat(frames, 48).reshape(-1, 4, 4, 3).astype(np.uint8)}

    def states_of(self, frames):
        return (frames[..., None] * 0.5 + np.arange(self._joints)).astype(np.float32)

    def chunks_of(self, frames):
        rows = self.states_of(frames)[..., None, :] + np.arange(self.horizon, dtype=np.float32)[:, None]
        return rows, None

    def grounding_of(self, frames):
        return None

    def instructions_of(self, frames):
        return ["move"] * len(frames)

    def sub_steps_of(self, frames):
        return [str(frame) for frame in frames]


SOURCES = {"arm": Frames(10, 2, 3), "hand": Frames(25, 5, 6)}


def statistics(frames: Frames) -> Statistics:
    every = np.arange(len(frames))
    states, chunks = torch.from_numpy(frames.states_of(every)), torch.from_numpy(frames.chunks_of(every)[0])
    return Statistics.measure(states, chunks, None, (-1,) * states.shape[1])


def mixture(weights=(2.0, 1.0), seed=4, shard=Shard(), augmentation=None) -> BatchMixture:
    builders = [
        BatchBuilder(
            frames, name, statistics(frames), None, BATCH, 2, 3, seed, augmentation=augmentation, shard=shard
        )
        for name, frames in SOURCES.items()
    ]
    return BatchMixture(builders, BatchShares(weights, BATCH, seed))


def frames_of(part) -> list[int]:
    return [int(text.sub_step) for text in part.texts]


def samples(parts) -> list:
    """Every sample of a mixed batch, one behind the other, in bytes."""
    return [
        (part.embodiment, part.texts[n], *(tensor[n].numpy().tobytes() for tensor in tensors))
        for part in parts
        for tensors in [(part.state, part.actions, *part.images.values())]
        for n in range(len(part.state))
    ]


def test_every_part_has_its_own_sizes_and_statistics():
    arm, hand = mixture().batch(3)
    assert arm.state.shape[1:] == (2, 2) and arm.actions.shape[1:] == (2, 3, 2)
    assert set(arm.images) == {"camera2"}
    assert hand.state.shape[1:] == (2, 5) and hand.actions.shape[1:] == (2, 6, 5)
    assert len(arm.state) + len(hand.state) == BATCH
    for name, part in (("arm", arm), ("hand", hand)):
        known = statistics(SOURCES[name])
        rows = known.denormalise_actions(part.actions, part.state)
        frames = (rows[..., 0, 0] * 2).round().long()
        # The chunks start at most three frames after the picture.
        late = frames - torch.tensor(frames_of(part))[:, None]
        assert (late >= 0).all() and (late <= 3).all()
        torch.testing.assert_close(
            part.state, known.normalise_state(torch.from_numpy(SOURCES[name].states_of(frames.numpy())))
        )


def test_every_frame_of_a_robot_has_its_turn_before_one_comes_again():
    taken = {"arm": [], "hand": []}
    mixed = mixture()
    for step in range(60):
        for part in mixed.batch(step):
            taken[part.embodiment] += frames_of(part)
    assert len(taken["arm"]) == pytest.approx(60 * BATCH * 2 / 3, abs=3)
    for name, frames in taken.items():
        count = len(SOURCES[name])
        assert sorted(frames[:count]) == list(range(count))
        assert np.ptp(np.bincount(frames)) <= 1


def test_a_batch_depends_on_seed_and_step_alone():
    mixed, augmentation = mixture(augmentation=Augmentation()), Augmentation()
    before = [mixed.batch(step) for step in range(6)]
    assert samples(mixture(augmentation=augmentation).batch(5)) == samples(before[5])
    assert samples(mixture(seed=5, augmentation=augmentation).batch(5)) != samples(before[5])


def test_workers_make_the_same_batches_in_the_same_order():
    alone, ahead = (list(mixture().batches(2, 9, workers)) for workers in (0, 2))
    assert len(ahead) == 7
    assert [samples(one) for one in ahead] == [samples(one) for one in alone]


@pytest.mark.parametrize("weights", [(2.0, 1.0), (1.0, 50.0)])
def test_processes_share_a_mixed_batch_evenly_and_without_overlap(weights):
    augmentation = Augmentation()
    whole = mixture(weights, augmentation=augmentation)
    shards = [mixture(weights, shard=Shard(index, 3), augmentation=augmentation) for index in range(3)]
    for step in range(20):
        together = samples(whole.batch(step))
        assert len(together) == BATCH
        for index, shard in enumerate(shards):
            assert samples(shard.batch(step)) == together[index::3]


def test_an_embodiment_without_a_frame_in_a_step_has_no_part():
    steps = [mixture((1.0, 1000.0)).batch(step) for step in range(30)]
    assert ("hand",) in {tuple(part.embodiment for part in parts) for parts in steps}
