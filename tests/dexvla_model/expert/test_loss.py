"""The training loss, against the formulas."""

import pytest
import torch

from dexvla_model.expert import EmbodimentConfig, diffusion_loss
from dexvla_model.expert.schedule import add_noise

ARM = EmbodimentConfig(state_size=7, action_size=6, horizon=8)


@pytest.fixture
def expert(kind, make_expert):
    return make_expert(kind, {"arm": ARM})


@pytest.fixture
def sample(make_inputs):
    noise, _, condition, state = make_inputs(ARM, count=2)
    return {"condition": condition, "state": state, "noise": noise}


def test_the_loss_is_the_mean_square_of_the_noise_error(expert, sample):
    actions, t = torch.rand(2, 8, 6), torch.tensor([10, 60])
    loss = diffusion_loss(
        expert, actions, sample["condition"], sample["state"], "arm", noise=sample["noise"], t=t
    )
    predicted = expert(add_noise(actions, sample["noise"], t), t, sample["condition"], sample["state"], "arm")
    torch.testing.assert_close(loss, (predicted - sample["noise"]).square().mean())


def test_padded_rows_count_as_zero_in_a_mean_over_all_rows(expert, sample):
    actions, t = torch.rand(2, 8, 6), torch.tensor([10, 60])
    is_pad = torch.zeros(2, 8, dtype=torch.bool)
    is_pad[0, 5:] = True
    loss = diffusion_loss(
        expert,
        actions,
        sample["condition"],
        sample["state"],
        "arm",
        is_pad=is_pad,
        noise=sample["noise"],
        t=t,
    )
    predicted = expert(add_noise(actions, sample["noise"], t), t, sample["condition"], sample["state"], "arm")
    error = (predicted - sample["noise"]).square()
    error[0, 5:] = 0
    torch.testing.assert_close(loss, error.mean())


def test_chunks_and_repeats_equal_a_larger_batch(expert, sample):
    """B = 2 conditions, K = 2 chunks, R = 3 repeats against twelve samples with everything copied."""
    generator = torch.Generator().manual_seed(4)
    actions = torch.rand(2, 2, 8, 6, generator=generator)
    state = torch.randn(2, 2, 7, generator=generator)
    is_pad = torch.rand(2, 2, 8, generator=generator) > 0.7
    noise = torch.randn(12, 8, 6, generator=generator)
    t = torch.randint(0, 100, (12,), generator=generator)
    ours = diffusion_loss(
        expert, actions, sample["condition"], state, "arm", is_pad=is_pad, repeats=3, noise=noise, t=t
    )
    copied = diffusion_loss(
        expert,
        actions.flatten(0, 1).repeat_interleave(3, 0),
        sample["condition"].repeat_interleave(6, 0),
        state.flatten(0, 1).repeat_interleave(3, 0),
        "arm",
        is_pad=is_pad.flatten(0, 1).repeat_interleave(3, 0),
        noise=noise,
        t=t,
    )
    torch.testing.assert_close(ours, copied)


def test_the_draws_of_the_loss_come_from_the_generator(expert, sample):
    def loss(seed):
        generator = torch.Generator().manual_seed(seed)
        return diffusion_loss(
            expert, torch.zeros(2, 8, 6), sample["condition"], sample["state"], "arm", generator=generator
        )

    assert torch.equal(loss(1), loss(1))
    assert not torch.equal(loss(1), loss(2))
