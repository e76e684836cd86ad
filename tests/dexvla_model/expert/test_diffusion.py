"""The training loss and the DDIM sampler, against diffusers and the formulas."""

import pytest
import torch

from dexvla_model.expert import EmbodimentConfig, ScaleDP, ddim_sample, diffusion_loss, scaledp_preset
from dexvla_model.expert.diffusion import add_noise, ddim_scheduler

ARM = EmbodimentConfig(state_size=7, action_size=6, horizon=8)


@pytest.fixture
def expert():
    torch.manual_seed(0)
    expert = ScaleDP(scaledp_preset("scaledp-nano"), {"arm": ARM})
    with torch.no_grad():
        for weight in expert.parameters():
            weight.normal_(0, 0.1)
    return expert


@pytest.fixture
def sample():
    generator = torch.Generator().manual_seed(2)
    return {
        "condition": torch.randn(2, 64, generator=generator),
        "state": torch.randn(2, 7, generator=generator),
        "noise": torch.randn(2, 8, 6, generator=generator),
    }


def scheduler_loop(expert, condition, state, noise, steps):
    scheduler = ddim_scheduler()
    scheduler.set_timesteps(steps)
    x = noise
    for t in scheduler.timesteps:
        epsilon = expert(x, t.expand(len(x)), condition, state, "arm")
        x = scheduler.step(epsilon, t, x).prev_sample
    return x


@torch.no_grad()
@pytest.mark.parametrize("steps", [1, 4, 10, 20])
def test_sampling_equals_diffusers_scheduler_step_by_step(expert, sample, steps):
    ours = ddim_sample(expert, **sample, embodiment="arm", steps=steps)
    torch.testing.assert_close(ours, scheduler_loop(expert, **sample, steps=steps), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_noise_is_added_as_diffusers_does_it(sample):
    actions, t = torch.rand(2, 8, 6), torch.tensor([3, 97])
    torch.testing.assert_close(
        add_noise(actions, sample["noise"], t), ddim_scheduler().add_noise(actions, sample["noise"], t)
    )


@torch.no_grad()
def test_the_prefix_is_returned_as_it_is_and_the_rest_follows_it(expert, sample):
    prefix = torch.rand(2, 3, 6) * 2 - 1
    chunk = ddim_sample(expert, **sample, embodiment="arm", prefix=prefix)
    assert torch.equal(chunk[:, :3], prefix)
    free = ddim_sample(expert, **sample, embodiment="arm")
    assert not torch.allclose(chunk[:, 3:], free[:, 3:])


@torch.no_grad()
def test_a_prefix_that_the_sampler_would_have_found_anyway_changes_little(expert, sample):
    free = ddim_sample(expert, **sample, embodiment="arm")
    held = ddim_sample(expert, **sample, embodiment="arm", prefix=free[:, :3])
    other = ddim_sample(expert, **sample, embodiment="arm", prefix=-free[:, :3])
    assert (held - free).abs().mean() < 0.5 * (other - free).abs().mean()


@torch.no_grad()
def test_a_seeded_generator_gives_the_same_chunk_again(expert, sample):
    def draw(seed):
        generator = torch.Generator().manual_seed(seed)
        return ddim_sample(expert, sample["condition"], sample["state"], "arm", generator=generator)

    assert torch.equal(draw(3), draw(3))
    assert not torch.equal(draw(3), draw(4))


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
