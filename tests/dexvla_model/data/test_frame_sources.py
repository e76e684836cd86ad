"""Frames for training out of LeRobot datasets: chunks, texts, orders, mixtures, shares of many processes."""

import json

import numpy as np
import pytest
import torch

from dexvla_model.data.augmentation import Augmentation
from dexvla_model.data.datasets import DatasetChoice, frame_order, joined, open_datasets
from dexvla_model.data.lerobot import DatasetSpecification, DatasetWriter
from dexvla_model.data.measure import measure_statistics
from dexvla_model.data.order import FrameOrder, MixtureOrder
from dexvla_model.data.recorded_frames import RecordedFrames
from dexvla_model.data.source import ConcatenatedFrames, later
from dexvla_model.errors import UserError
from dexvla_model.normalization import Statistics, relative_to_state
from dexvla_model.training.batches import BatchBuilder, Shard


@pytest.fixture(scope="module")
def frames(recorded, ur5e) -> RecordedFrames:
    return RecordedFrames(recorded, ur5e, horizon=4)


def test_a_chunk_is_the_commands_of_the_frames_ahead_padded_at_the_end(frames):
    chunks, is_pad = frames.chunks_of(np.array([0, 10, 12]))
    np.testing.assert_allclose(
        chunks[:, :, 0], [[0, 1, 2, 3], [10, 11, 11, 11], [0.05, 1.05, 2.05, 3.05]], rtol=1e-6
    )
    np.testing.assert_array_equal(is_pad, [[False] * 4, [False, False, True, True], [False] * 4])
    assert chunks.shape == (3, 4, 7)


def test_instructions_and_sub_steps_belong_to_their_frames(frames):
    assert frames.instructions_of(np.array([0, 12, 27])) == [
        "pick the cube",
        "drop the cube",
        "pick the cube",
    ]
    assert frames.sub_steps_of(np.array([5, 6])) == ["reach", "grasp"]
    assert frames.sub_steps_of(np.array([21])) == [
        "pick the cube"
    ], "an episode without sub-steps says its instruction"


def test_images_are_of_the_model_s_size_and_of_the_right_frame(frames, stripes):
    _, number_in = stripes
    images = frames.images_of(np.array([20, 3]))
    assert images["scene"].shape == (2, 112, 140, 3) and images["wrist"].shape == (2, 84, 84, 3)
    assert [number_in(image) for image in images["wrist"]] == [58, 3]


def test_no_delay_leads_into_another_episode(frames):
    np.testing.assert_array_equal(later(frames, np.array([10, 11, 20]), np.array([5, 1, 0])), [11, 11, 20])


def test_failures_can_be_left_out(recorded, ur5e):
    kept = RecordedFrames(recorded, ur5e, horizon=4, only_success=True)
    assert len(kept) == 19
    assert kept.last_frame.tolist() == [11] * 12 + [18] * 7
    assert kept.instructions_of(np.array([12])) == ["pick the cube"]


def test_a_faster_dataset_is_strided_to_the_rate_of_the_actions(tmp_path, ur5e, fill_episode):
    writer = DatasetWriter.open(tmp_path / "data", DatasetSpecification.of_robot(ur5e, 20))
    fill_episode(writer, 9)
    writer.finish()
    frames = RecordedFrames(tmp_path / "data", ur5e, horizon=3)
    chunks, is_pad = frames.chunks_of(np.array([1, 5]))
    assert chunks[:, :, 0].tolist() == [[1, 3, 5], [5, 7, 8]]
    assert is_pad.tolist() == [[False] * 3, [False, False, True]]
    assert later(frames, np.array([1]), np.array([2])).tolist() == [5]


def test_a_rate_that_does_not_fit_is_named(tmp_path, ur5e, fill_episode):
    writer = DatasetWriter.open(tmp_path / "data", DatasetSpecification.of_robot(ur5e, 15))
    fill_episode(writer, 5)
    writer.finish()
    with pytest.raises(UserError, match="15 frames per s.*10 Hz.*from-lerobot"):
        RecordedFrames(tmp_path / "data", ur5e, horizon=3)


def test_joints_of_another_dataset_are_taken_by_name(tmp_path, recorded, ur5e):
    import shutil

    shutil.copytree(recorded, tmp_path / "data")
    (tmp_path / "data/meta/robot.yaml").unlink()
    path = tmp_path / "data/meta/info.json"
    info = json.loads(path.read_text())
    # The dataset's first two joints change their names: the values have to follow.
    names = info["features"]["observation.state"]["names"]
    names[0], names[1] = names[1], names[0]
    path.write_text(json.dumps(info))
    swapped, plain = RecordedFrames(tmp_path / "data", ur5e, 4), RecordedFrames(recorded, ur5e, 4)
    every = np.arange(28)
    np.testing.assert_array_equal(swapped.states_of(every)[:, 0], plain.states_of(every)[:, 1])


def test_a_dataset_of_other_joints_or_cameras_is_refused(foreign, recorded, ur5e):
    with pytest.raises(UserError, match="no camera observation.images.scene.*observation.images.top"):
        RecordedFrames(foreign, ur5e, 4)
    cameras = {"scene": "observation.images.top", "wrist": "observation.images.still"}
    with pytest.raises(UserError, match="holds m0, m1, m2.*--mapping"):
        RecordedFrames(foreign, ur5e, 4, cameras=cameras)


def test_statistics_do_not_count_padding_and_do_not_depend_on_the_block(frames, ur5e, monkeypatch):
    from dexvla_model.data import measure

    chunks, is_pad = frames.chunks_of(np.arange(28))
    states = torch.from_numpy(frames.states_of(np.arange(28)))
    whole = Statistics.measure(
        states, torch.from_numpy(chunks), torch.from_numpy(is_pad), relative_to_state(ur5e)
    )
    monkeypatch.setattr(measure, "_BLOCK_SIZE", 28 * 5)
    blocks = measure_statistics(frames, ur5e)
    for name in ("state_mean", "state_std", "action_min", "action_max"):
        torch.testing.assert_close(getattr(blocks, name), getattr(whole, name))


def builder(frames, ur5e, **changes) -> BatchBuilder:
    options = dict(batch_size=6, chunks_per_frame=2, max_delay_frames=3, seed=1) | changes
    return BatchBuilder(frames, ur5e.embodiment, measure_statistics(frames, ur5e), None, **options)


def test_a_batch_depends_on_seed_and_step_alone(frames, ur5e, recorded):
    augmentation = Augmentation()
    one = builder(frames, ur5e, augmentation=augmentation).batch(7)
    again = builder(RecordedFrames(recorded, ur5e, horizon=4), ur5e, augmentation=augmentation).batch(7)
    other = builder(frames, ur5e, augmentation=augmentation, seed=2).batch(7)
    assert torch.equal(one.images["scene"], again.images["scene"]) and torch.equal(one.actions, again.actions)
    assert not torch.equal(one.actions, other.actions)
    assert (
        one.actions.shape == (6, 2, 4, 7) and one.is_pad.shape == (6, 2, 4) and one.state.shape == (6, 2, 7)
    )
    assert one.actions[~one.is_pad].abs().max() <= 1.0 + 1e-5


def test_workers_make_the_same_batches_in_the_same_order(frames, ur5e):
    made = builder(frames, ur5e)
    alone = list(made.batches(2, 5))
    ahead = list(made.batches(2, 5, workers=2))
    assert len(ahead) == 3
    for one, other in zip(alone, ahead):
        assert torch.equal(one.images["wrist"], other.images["wrist"]) and torch.equal(
            one.actions, other.actions
        )
        assert one.texts == other.texts


def test_processes_share_a_batch_without_overlap(frames, ur5e):
    augmentation = Augmentation()
    whole = builder(frames, ur5e, batch_size=7, augmentation=augmentation).batch(3)
    parts = [
        builder(frames, ur5e, batch_size=7, augmentation=augmentation, shard=Shard(index, 3)).batch(3)
        for index in range(3)
    ]
    assert [len(part.state) for part in parts] == [3, 2, 2]
    for index, part in enumerate(parts):
        assert torch.equal(part.actions, whole.actions[index::3])
        assert torch.equal(part.images["scene"], whole.images["scene"][index::3])


def test_sources_behind_each_other_are_one(frames, recorded, ur5e, stripes):
    _, number_in = stripes
    both = ConcatenatedFrames([frames, RecordedFrames(recorded, ur5e, 4, only_success=True)])
    assert len(both) == 28 + 19
    chosen = np.array([40, 3, 46])
    assert [number_in(image) for image in both.images_of(chosen)["wrist"]] == [100, 3, 106]
    np.testing.assert_array_equal(both.states_of(chosen)[1], frames.states_of(np.array([3]))[0])
    assert later(both, np.array([45]), np.array([9])).tolist() == [46]
    chunks, is_pad = both.chunks_of(np.array([[40, 3]]))
    assert chunks.shape == (1, 2, 4, 7) and not is_pad[0, 1].any()


def test_a_mixture_keeps_its_shares_and_uses_every_frame_of_a_source_before_it_repeats_one():
    order = MixtureOrder([100, 10], [3.0, 1.0], batch_size=20, seed=5)
    taken = np.concatenate([order.batch(step) for step in range(500)])
    assert np.mean(taken >= 100) == 0.25
    small = taken[taken >= 100]
    np.testing.assert_array_equal(np.sort(small[:10]), np.arange(100, 110))
    counts = np.bincount(taken[taken < 100], minlength=100)
    assert counts.max() - counts.min() <= 1
    np.testing.assert_array_equal(MixtureOrder([100, 10], [3.0, 1.0], 20, 5).batch(499), order.batch(499))


def test_without_weights_every_frame_counts_alike(recorded, ur5e):
    choices = [DatasetChoice(recorded), DatasetChoice(recorded)]
    sources = open_datasets(choices, ur5e, horizon=4)
    assert isinstance(frame_order(sources, choices, 8, 0), FrameOrder)
    assert len(joined(sources)) == 56
    weighted = [DatasetChoice(recorded, 1.0), DatasetChoice(recorded, 3.0)]
    taken = frame_order(open_datasets(weighted, ur5e, 4), weighted, 1000, 0).batch(9)
    assert len(taken) == 1000


def test_what_cannot_be_mixed_is_named(recorded, ur5e, tmp_path):
    with pytest.raises(UserError, match="has no weight, but others do"):
        open_datasets([DatasetChoice(recorded, 1.0), DatasetChoice(recorded)], ur5e, 4)
    with pytest.raises(UserError, match="model.horizon"):
        open_datasets([DatasetChoice(recorded)], ur5e)
    DatasetWriter.open(tmp_path / "empty", DatasetSpecification.of_robot(ur5e, 10)).finish()
    with pytest.raises(UserError, match="no episode"):
        open_datasets([DatasetChoice(recorded), DatasetChoice(tmp_path / "empty")], ur5e, 4)
    with pytest.raises(UserError, match="is no LeRobot dataset"):
        open_datasets([DatasetChoice(tmp_path / "none")], ur5e, 4)


def test_augmentation_moves_and_colours_images_a_little_and_differently():
    rows, columns = np.mgrid[0:60, 0:80]
    image = torch.from_numpy(np.stack([rows * 3, columns * 2, rows + columns], axis=2).astype(np.uint8))
    batch = image.expand(16, -1, -1, -1)
    changed = Augmentation().apply_each(batch, [np.random.default_rng(seed) for seed in range(16)])
    assert changed.shape == batch.shape and changed.dtype == torch.uint8
    assert len({tuple(one.flatten()[::97].tolist()) for one in changed}) == 16
    still = Augmentation(1.0, 0.0, 0.0, 0.0, 0.0).apply_each(
        batch, [np.random.default_rng(s) for s in range(16)]
    )
    assert (still.int() - batch.int()).abs().max() <= 1


def test_a_crop_shows_a_part_of_the_image_and_a_rotation_turns_it():
    rows, columns = np.mgrid[0:100, 0:200].astype(np.float32)
    image = torch.from_numpy(np.stack([columns, rows, columns * 0], axis=2).astype(np.uint8))[None]

    def change(**amounts):
        nothing = dict(crop=1.0, rotation_deg=0.0, brightness=0.0, contrast=0.0, saturation=0.0)
        return Augmentation(**nothing | amounts).apply_each(image, [np.random.default_rng(4)])[0].float()

    cropped = change(crop=0.9)
    # 90 % of the columns: the slope across the image shrinks to 0.9, and nothing lies outside.
    assert (cropped[50, 150, 0] - cropped[50, 50, 0]).item() == pytest.approx(90, abs=1.5)
    assert cropped[1:-1, 1:-1, :2].min() >= 0
    turned = change(rotation_deg=10.0)
    across = turned[50, 60:140].diff(dim=0).mean(dim=0)
    # Turned pixels stay square: a step to the right goes by (cos, sin) in pixels, whatever the image's
    # format.
    assert torch.linalg.vector_norm(across[:2]).item() == pytest.approx(1.0, abs=0.03)
    assert abs(across[1].item()) > 0.01
