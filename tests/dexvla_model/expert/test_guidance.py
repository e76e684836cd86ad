"""Rows that are known beforehand: committed ones are kept, scheduled ones pull, the condition still decides
the rest."""

import math

import pytest
import torch

from dexvla_model.errors import UserError
from dexvla_model.expert import EmbodimentConfig, Sampler, SamplingConfig
from dexvla_model.expert.guidance import guidance_weights, soft_mask
from dexvla_model.expert.schedule import alphas_cumprod
from dexvla_model.expert.solvers import make_solver

ROWS, SIZE = 12, 3
ARM = EmbodimentConfig(state_size=2, action_size=SIZE, horizon=ROWS)
MODES = ("none", "inpaint", "guided")
SOLVERS = ("ddim", "dpm++")


class GaussianExpert:
    """The exact noise prediction for chunks that are one Gaussian: mean by the condition, rows correlated
    over time.

    For x = signal clean + level noise and clean of mean m and covariance S, E[clean | x] = m + signal S
    (signal^2 S + level^2)^-1 (x - signal m), which is what a perfectly trained expert would find.
    """

    objective = "diffusion"

    def __init__(self, spread: float = 0.3, correlation: float = 0.9):
        distance = (torch.arange(ROWS)[:, None] - torch.arange(ROWS)).abs().double()
        self.covariance = spread**2 * correlation**distance
        self.embodiments = {"arm": ARM}

    def head(self, embodiment):
        return type("Head", (), {"config": self.embodiments[embodiment]})

    def embed_condition(self, condition, state, embodiment):
        return condition.reshape(len(condition), -1)

    def embed_time(self, t):
        return t.float().unsqueeze(1)

    def combine_time(self, time, embedded):
        shape = torch.broadcast_shapes(time.shape[:-1], embedded.shape[:-1])
        return torch.cat([time.expand(*shape, -1), embedded.expand(*shape, -1)], dim=-1)

    def modulations(self, c):
        return (c[:, :1], c[:, 1:])

    def denoise(self, x, modulations, embodiment):
        t, mean = modulations
        alpha = alphas_cumprod()[t[0].long()].double()
        gain = (
            alpha.sqrt()
            * self.covariance
            @ torch.linalg.inv(alpha * self.covariance + (1 - alpha) * torch.eye(ROWS, dtype=torch.float64))
        )
        mean = mean.double().unsqueeze(1)
        clean = mean + gain @ (x.double() - alpha.sqrt() * mean)
        return ((x - alpha.sqrt() * clean) / (1 - alpha).sqrt()).float()


@pytest.fixture
def expert():
    return GaussianExpert()


def draw(expert, continuity, mean=0.0, batch=4, solver="ddim", seed=0, **known):
    sampler = Sampler(expert, SamplingConfig(continuity=continuity, solver=solver))
    generator = torch.Generator().manual_seed(seed)
    condition = torch.full((batch, SIZE), float(mean))
    return sampler.sample(condition, torch.zeros(batch, 2), "arm", generator=generator, **known)


def rows(count, value, batch=4):
    return torch.full((batch, count, SIZE), float(value))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("continuity", MODES)
def test_without_known_rows_all_modes_draw_the_same_chunk_bit_for_bit(expert, continuity, solver):
    free = draw(expert, "none", solver=solver)
    assert torch.equal(draw(expert, continuity, solver=solver), free)
    empty = torch.empty(4, 0, SIZE)
    assert torch.equal(draw(expert, continuity, solver=solver, prefix=empty, scheduled=empty), free)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("continuity", MODES)
def test_committed_rows_come_back_exactly(expert, continuity, solver):
    prefix = torch.rand(4, 4, SIZE, generator=torch.Generator().manual_seed(1))
    chunk = draw(expert, continuity, solver=solver, prefix=prefix, scheduled=rows(3, 0.2))
    assert torch.equal(chunk[:, :4], prefix)


@pytest.mark.parametrize("solver", SOLVERS)
def test_rows_behind_the_committed_ones_follow_them(expert, solver):
    """The three modes by how far the first free row jumps from the last committed one."""
    prefix = rows(4, 0.5)
    jumps = {
        mode: (draw(expert, mode, solver=solver, prefix=prefix)[:, 4] - 0.5).abs().mean() for mode in MODES
    }
    assert jumps["inpaint"] < 0.7 * jumps["none"]
    assert jumps["guided"] < jumps["inpaint"]


@pytest.mark.parametrize("solver", SOLVERS)
def test_guidance_draws_the_chunk_to_the_scheduled_rows(expert, solver):
    prefix, scheduled = rows(2, 0.4), rows(5, 0.4)
    away = {
        mode: (draw(expert, mode, solver=solver, prefix=prefix, scheduled=scheduled)[:, 2:7] - 0.4)
        .abs()
        .mean()
        for mode in MODES
    }
    assert away["guided"] < 0.7 * away["inpaint"]
    assert away["guided"] < 0.7 * away["none"]


def test_the_pull_decays_along_the_scheduled_rows(expert):
    chunk = draw(expert, "guided", mean=-0.4, batch=64, prefix=rows(2, 0.4, 64), scheduled=rows(8, 0.4, 64))
    away = (chunk[:, 2:10] - 0.4).abs().mean(dim=(0, 2))
    assert away[0] < 0.5 * away[7]


def test_rows_that_are_not_known_still_follow_the_condition():
    # Rows that hardly depend on each other: what is known says nothing about the last ones.
    loose = GaussianExpert(spread=0.1, correlation=0.3)
    known = {"prefix": rows(2, 0.0, 64), "scheduled": rows(4, 0.0, 64)}
    for mean in (-0.5, 0.5):
        chunk = draw(loose, "guided", mean=mean, batch=64, **known)
        assert abs(chunk[:, 9:].mean() - mean) < 0.05


def test_guidance_without_a_committed_row_pulls_too(expert):
    guided = draw(expert, "guided", scheduled=rows(6, 0.5))
    free = draw(expert, "none")
    assert (guided[:, :3] - 0.5).abs().mean() < 0.5 * (free[:, :3] - 0.5).abs().mean()


def test_no_guidance_is_left_of_a_weight_of_zero(expert):
    sampler = Sampler(expert, SamplingConfig(continuity="guided", guidance_max=0.0))
    known = {"prefix": rows(3, 0.4), "scheduled": rows(4, 0.4)}
    noise = torch.randn(4, ROWS, SIZE, generator=torch.Generator().manual_seed(0))
    arguments = (torch.zeros(4, SIZE), torch.zeros(4, 2), "arm")
    inpainted = Sampler(expert, SamplingConfig(continuity="inpaint")).sample(*arguments, noise=noise, **known)
    torch.testing.assert_close(sampler.sample(*arguments, noise=noise, **known), inpainted, rtol=0, atol=1e-6)


def test_the_soft_mask_is_that_of_real_time_chunking():
    """Equation 5 with a horizon of 9, an inference delay of 2 and 3 rows that are not known: H - s = 6."""
    expected = [1.0, 1.0]
    for i in range(2, 6):
        c = (6 - i) / (6 - 2 + 1)
        expected.append(c * (math.exp(c) - 1.0) / (math.e - 1.0))
    assert soft_mask(2, 4) == pytest.approx(expected)
    assert soft_mask(0, 0) == []


def test_the_guidance_weight_is_that_of_the_flow_at_the_same_share_of_noise():
    """min(beta, (1 - tau) / (tau r^2)) of the paper, brought into the diffusion's scale."""
    solver, beta = make_solver("ddim", 10), 5.0
    for signal, level, weight in zip(
        solver.signal, solver.level, guidance_weights(solver.signal, solver.level, beta)
    ):
        tau = signal / (signal + level)
        r2 = (1 - tau) ** 2 / (tau**2 + (1 - tau) ** 2)
        of_flow = (1 - tau) * min(beta, (1 - tau) / (tau * r2))
        # x of the flow is c times that of the diffusion, so its Jacobian is 1 / c times as large.
        assert weight == pytest.approx(of_flow / math.hypot(tau, 1 - tau), rel=1e-5)


@torch.no_grad()
def test_unlimited_guidance_of_white_chunks_is_the_posterior_mean():
    """Independent normal rows, one step from full noise: the estimate of a known row becomes that row."""
    white = GaussianExpert(spread=1.0, correlation=0.0)
    sampler = Sampler(white, SamplingConfig(continuity="guided", steps=1, guidance_max=1000.0))
    chunk = sampler.sample(
        torch.zeros(2, SIZE),
        torch.zeros(2, 2),
        "arm",
        noise=torch.zeros(2, ROWS, SIZE),
        scheduled=rows(1, 0.8, 2),
    )
    expected = soft_mask(0, 1)[0] * 0.8
    torch.testing.assert_close(chunk[:, 0], torch.full((2, SIZE), expected), rtol=0, atol=1e-4)


def test_more_known_rows_than_the_chunk_has_are_refused(expert):
    with pytest.raises(UserError, match="13 rows are known"):
        draw(expert, "guided", prefix=rows(6, 0.0), scheduled=rows(7, 0.0))


def test_known_rows_of_another_width_are_refused(expert):
    with pytest.raises(UserError, match="known rows have shape"):
        draw(expert, "guided", prefix=torch.zeros(4, 2, SIZE + 1))
