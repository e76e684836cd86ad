"""Drawing chunks: against diffusers step by step, what is computed how often, and what decides the draw."""

from dataclasses import replace

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler

from dexvla_model.errors import UserError
from dexvla_model.expert import EmbodimentConfig, Sampler, SamplingConfig, ScaleDP, expert_preset
from dexvla_model.expert.schedule import ddim_scheduler

ARM = EmbodimentConfig(state_size=7, action_size=6, horizon=8)


@pytest.fixture
def expert():
    torch.manual_seed(0)
    expert = ScaleDP(expert_preset("scaledp-nano"), {"arm": ARM})
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


def dpm_scheduler():
    """Thresholding with a largest value of 1 is the clipping that DDIM has."""
    return DPMSolverMultistepScheduler(
        num_train_timesteps=100,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="epsilon",
        algorithm_type="dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        thresholding=True,
        sample_max_value=1.0,
    )


@torch.no_grad()
def scheduler_loop(expert, scheduler, condition, state, noise, steps):
    scheduler.set_timesteps(steps)
    x = noise
    for t in scheduler.timesteps:
        epsilon = expert(x, t.expand(len(x)), condition, state, "arm")
        x = scheduler.step(epsilon, t, x).prev_sample
    return x


@pytest.mark.parametrize("steps", [1, 4, 10, 20])
def test_ddim_equals_diffusers_scheduler_step_by_step(expert, sample, steps):
    ours = Sampler(expert, SamplingConfig(steps=steps)).sample(**sample, embodiment="arm")
    theirs = scheduler_loop(expert, ddim_scheduler(), **sample, steps=steps)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 10])
def test_dpm_solver_equals_diffusers_scheduler_step_by_step(expert, sample, steps):
    ours = Sampler(expert, SamplingConfig(solver="dpm++", steps=steps)).sample(**sample, embodiment="arm")
    theirs = scheduler_loop(expert, dpm_scheduler(), **sample, steps=steps)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


class OneChunk(torch.nn.Module):
    """An expert that has learned a single chunk: its noise is what is left of the rows without it."""

    def __init__(self, expert, chunk):
        super().__init__()
        self.expert, self.chunk = expert, chunk
        self.calls = {"embed_condition": 0, "embed_time": 0, "modulations": 0, "denoise": 0}

    def __getattr__(self, name):
        if name in ("expert", "chunk", "calls"):
            return super().__getattr__(name)
        return getattr(self.expert, name)

    def _count(self, name, *arguments):
        self.calls[name] += 1
        return getattr(self.expert, name)(*arguments)

    def embed_condition(self, *arguments):
        return self._count("embed_condition", *arguments)

    def embed_time(self, *arguments):
        return self._count("embed_time", *arguments)

    def modulations(self, *arguments):
        return self._count("modulations", *arguments)

    def denoise(self, *arguments):
        return self._count("denoise", *arguments)


def test_only_the_network_runs_once_per_step(expert, sample):
    counting = OneChunk(expert, None)
    sampler = Sampler(counting, SamplingConfig(steps=7))
    for _ in range(2):
        sampler.sample(**sample, embodiment="arm")
    # The time steps are embedded once for all chunks.
    assert counting.calls == {"embed_condition": 2, "embed_time": 1, "modulations": 2, "denoise": 14}


@pytest.mark.parametrize("solver", ["ddim", "dpm++"])
def test_the_sample_to_start_from_is_left_alone(expert, sample, solver):
    before = sample["noise"].clone()
    Sampler(expert, SamplingConfig(solver=solver)).sample(
        **sample, embodiment="arm", prefix=torch.zeros(2, 3, 6)
    )
    assert torch.equal(sample["noise"], before)


@pytest.mark.parametrize("solver", ["ddim", "dpm++"])
def test_a_batch_gives_what_its_chunks_give_alone(expert, sample, solver):
    sampler = Sampler(expert, SamplingConfig(solver=solver))
    together = sampler.sample(**sample, embodiment="arm")
    for i in range(2):
        alone = sampler.sample(**{name: rows[i : i + 1] for name, rows in sample.items()}, embodiment="arm")
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("solver", ["ddim", "dpm++"])
@pytest.mark.parametrize("batch", [1, 2])
def test_a_seeded_generator_gives_the_same_chunks_again(expert, sample, solver, batch):
    sampler = Sampler(expert, SamplingConfig(solver=solver))

    def draw(seed):
        generator = torch.Generator().manual_seed(seed)
        condition, state = sample["condition"][:batch], sample["state"][:batch]
        return sampler.sample(condition, state, "arm", generator=generator)

    assert torch.equal(draw(3), draw(3))
    assert not torch.equal(draw(3), draw(4))
    if batch == 2:
        assert not torch.equal(draw(3)[0], draw(3)[1])


def test_the_noise_is_scaled(expert):
    draws = [
        Sampler(expert, SamplingConfig(noise_scale=scale)).draw(
            3, "arm", "cpu", torch.Generator().manual_seed(1)
        )
        for scale in (1.0, 0.5, 0.0)
    ]
    assert draws[0].shape == (3, 8, 6)
    torch.testing.assert_close(draws[1], 0.5 * draws[0])
    assert not draws[2].any()


def test_bfloat16_stays_near_float32(expert, sample):
    exact = Sampler(expert).sample(**sample, embodiment="arm")
    rounded = Sampler(expert.to(torch.bfloat16)).sample(
        sample["condition"].bfloat16(), sample["state"].bfloat16(), "arm", noise=sample["noise"]
    )
    assert rounded.dtype == torch.float32
    assert (rounded - exact).abs().mean() < 0.05


@pytest.mark.parametrize(
    "change, named",
    [
        ({"solver": "heun"}, "sampling.solver"),
        ({"steps": 0}, "sampling.steps"),
        ({"steps": 101}, "sampling.steps"),
        ({"steps": 2.5}, "sampling.steps"),
        ({"noise_scale": 1.5}, "sampling.noise_scale"),
        ({"noise_scale": float("nan")}, "sampling.noise_scale"),
        ({"continuity": "smooth"}, "sampling.continuity"),
        ({"guidance_max": -1.0}, "sampling.guidance_max"),
    ],
)
def test_a_wrong_setting_is_named(change, named):
    with pytest.raises(UserError, match=named):
        replace(SamplingConfig(), **change)


@pytest.mark.slow
def test_a_compiled_network_gives_the_same_chunk(expert, sample):
    expert.requires_grad_(False)
    compiled = Sampler(expert, compile_network=True)
    known = {"prefix": torch.zeros(2, 2, 6), "scheduled": torch.zeros(2, 3, 6)}
    for given in (sample, sample | known):
        torch.testing.assert_close(
            compiled.sample(**given, embodiment="arm"),
            Sampler(expert).sample(**given, embodiment="arm"),
            rtol=1e-4,
            atol=1e-4,
        )
