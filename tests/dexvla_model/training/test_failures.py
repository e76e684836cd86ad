"""What a run does when something breaks: one sentence, the state saved, and it goes on from there."""

import os
import signal

import pytest
import torch

from dexvla_model.errors import UserError


def fails_at(trainer, step, error, method="_losses"):
    """Let a method of the trainer fail from a step on."""
    original = getattr(trainer, method)

    def failing(*arguments):
        if trainer.step == step:
            raise error
        return original(*arguments)

    setattr(trainer, method, failing)
    return trainer


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes."),
    ],
)
def test_out_of_memory_saves_the_state_and_says_what_to_change(error, stage_trainer, tmp_path):
    trainer = fails_at(stage_trainer(1, tmp_path / "run", optimization={"steps": 3}), 2, error)
    with pytest.raises(UserError, match=r"out of memory at step 2; .*batch_size, .*it goes on from there\."):
        trainer.run()
    assert torch.load(tmp_path / "run" / "state.pt", weights_only=True)["step"] == 2


def test_a_batch_that_cannot_be_made_stops_and_a_mended_dataset_goes_on(stage_trainer, tmp_path):
    workers = {"workers": 1, "steps": 8}
    trainer = stage_trainer(1, tmp_path / "run", optimization=workers)
    builder = trainer._mixtures[0]._builders[0]
    images_of = builder._frames.images_of

    def broken(frames):
        if trainer.step >= 1:
            raise OSError("pictures.parquet: input/output error")
        return images_of(frames)

    builder._frames.images_of = broken
    with pytest.raises(UserError, match=r"batch of step \d could not be made \(pictures.parquet: input"):
        trainer.run()
    reached = torch.load(tmp_path / "run" / "state.pt", weights_only=True)["step"]
    del trainer
    mended = stage_trainer(1, tmp_path / "run", optimization=workers)
    assert mended.step == reached
    assert mended.run()["steps"] == 8


def test_a_bug_is_no_users_mistake(stage_trainer, tmp_path):
    trainer = fails_at(stage_trainer(1, tmp_path / "run"), 1, TypeError("a bug"))
    with pytest.raises(TypeError, match="a bug"):
        trainer.run()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_within_a_step_waits_for_its_end(number, stage_trainer, tmp_path):
    trainer = stage_trainer(1, tmp_path / "run", optimization={"steps": 3})
    original = trainer._average.update

    def interrupted():
        os.kill(os.getpid(), number)
        original()

    trainer._average.update = interrupted
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    assert state["step"] == 1 and state["average"]["updates"] == 1


def test_a_step_that_was_broken_off_is_not_saved(stage_trainer, tmp_path):
    trainer = stage_trainer(1, tmp_path / "run")
    trainer._average.update = lambda: (_ for _ in ()).throw(MemoryError())
    with pytest.raises(UserError, match="goes on from the last state that was saved"):
        trainer.run()
    assert not (tmp_path / "run" / "state.pt").exists()


def test_a_full_disk_is_named(stage_trainer, tmp_path, monkeypatch):
    trainer = stage_trainer(1, tmp_path / "run", optimization={"steps": 1})

    def full(*paths):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match="state.pt: the state cannot be written .No space left"):
        trainer.run()
