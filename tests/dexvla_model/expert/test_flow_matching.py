"""Flow matching in the manner of pi0: the loss by its formulas, and draws from flows that are known."""

import math
from dataclasses import replace

import pytest
import torch

from dexvla_model.errors import UserError
from dexvla_model.expert import (
    EmbodimentConfig,
    Sampler,
    SamplingConfig,
    diffusion_loss,
    expert_config_from_json,
    expert_from_config,
    expert_preset,
)
from dexvla_model.expert.guidance import guidance_weights, soft_mask
from dexvla_model.expert.objectives import FlowMatching
from dexvla_model.expert.solvers import make_solver

ROWS, SIZE = 12, 3
ARM = EmbodimentConfig(state_size=2, action_size=SIZE, horizon=ROWS)
EULER = SamplingConfig(solver="euler")


class ExactFlow:
    """The velocity E[noise - clean | x] of a known distribution, as a perfectly trained expert says it."""

    objective = "flow_matching"

    def head(self, embodiment):
        return type("Head", (), {"config": ARM})

    def embed_condition(self, condition, state, embodiment):
        return condition.reshape(len(condition), -1)

    def embed_time(self, t):
        # The sampler tells the network 100 t.
        return t.double().unsqueeze(1) / 100

    def combine_time(self, time, embedded):
        shape = torch.broadcast_shapes(time.shape[:-1], embedded.shape[:-1])
        return torch.cat([time.expand(*shape, -1), embedded.double().expand(*shape, -1)], dim=-1)

    def modulations(self, c):
        return (c[:, :1], c[:, 1:])

    def denoise(self, x, modulations, embodiment):
        t, mean = modulations
        t, x = t[0].item(), x.double()
        clean = self.expected(x, t, mean.unsqueeze(1))
        # x = t noise + (1 - t) clean, so noise - clean = (x - clean) / t.
        return ((x - clean) / t).float()


class GaussianFlow(ExactFlow):
    """Chunks of one Gaussian: mean by the condition, rows correlated over time."""

    def __init__(self, spread: float = 0.3, correlation: float = 0.9):
        distance = (torch.arange(ROWS)[:, None] - torch.arange(ROWS)).abs().double()
        self.covariance = spread**2 * correlation**distance

    def expected(self, x, t, mean):
        tau = 1 - t
        noise = t**2 * torch.eye(ROWS, dtype=torch.float64)
        gain = tau * self.covariance @ torch.linalg.inv(tau**2 * self.covariance + noise)
        return mean + gain @ (x - tau * mean)


class TwoWays(ExactFlow):
    """Independent numbers, each around -0.6 (a quarter of them) or 0.6 with a deviation of 0.05."""

    ways, shares, spread = (-0.6, 0.6), (0.25, 0.75), 0.05

    def expected(self, x, t, mean):
        tau = 1 - t
        variance = tau**2 * self.spread**2 + t**2
        logs = [math.log(p) - (x - tau * m) ** 2 / (2 * variance) for p, m in zip(self.shares, self.ways)]
        weight = torch.stack(logs).softmax(dim=0)
        near = [m + tau * self.spread**2 / variance * (x - tau * m) for m in self.ways]
        return (weight * torch.stack(near)).sum(dim=0)


def draw(expert, batch=4, mean=0.0, seed=0, config=EULER, **known):
    generator = torch.Generator().manual_seed(seed)
    condition = torch.full((batch, SIZE), float(mean))
    return Sampler(expert, config).sample(
        condition, torch.zeros(batch, 2), "arm", generator=generator, **known
    )


def rows(count, value, batch=4):
    return torch.full((batch, count, SIZE), float(value))


# ---------------------------------------------------------------------- what is learned


def test_times_are_those_of_pi0():
    """Beta(1.5, 1) on [0.001, 1]: mean 0.6, variance 0.6 * 0.4 / 3.5 of the Beta itself."""
    t = FlowMatching().draw_times(200_000, torch.device("cpu"), torch.Generator().manual_seed(0))
    assert 0.001 <= t.min() and t.max() <= 1.0
    beta = (t.double() - 0.001) / 0.999
    assert beta.mean().item() == pytest.approx(0.6, abs=2e-3)
    assert beta.var().item() == pytest.approx(0.6 * 0.4 / 3.5, abs=1e-3)
    assert (beta < 0.25).double().mean().item() == pytest.approx(0.25**1.5, abs=2e-3)


def test_the_loss_is_the_mean_square_of_the_velocity_error():
    torch.manual_seed(0)
    expert = expert_from_config(expert_preset("scaledp-nano", objective="flow_matching"), {"arm": ARM})
    for weight in expert.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    actions, noise = torch.rand(2, ROWS, SIZE), torch.randn(2, ROWS, SIZE)
    condition, state, t = torch.randn(2, 64), torch.randn(2, 2), torch.tensor([0.25, 1.0])
    loss = diffusion_loss(expert, actions, condition, state, "arm", noise=noise, t=t)
    x = t[:, None, None] * noise + (1 - t[:, None, None]) * actions
    velocity = expert(x, 100 * t, condition, state, "arm")
    torch.testing.assert_close(loss, (velocity - (noise - actions)).square().mean())


def test_the_exact_velocity_has_the_least_loss():
    """The minimiser of the loss is E[noise - clean | x]: no multiple of it does better."""
    flow, matching = GaussianFlow(), FlowMatching()
    generator = torch.Generator().manual_seed(0)
    white = torch.randn(4000, ROWS, SIZE, generator=generator)
    clean = torch.linalg.cholesky(flow.covariance).float() @ white
    noise = torch.randn(4000, ROWS, SIZE, generator=generator)
    t = torch.full((4000,), 0.5)
    x = matching.mix(clean, noise, t)
    said = flow.denoise(x, (t[:, None].double(), torch.zeros(4000, SIZE).double()), "arm")
    target = matching.target(clean, noise)
    best = (said - target).square().mean()
    for factor in (0.9, 1.1):
        assert (factor * said - target).square().mean() > best


# ---------------------------------------------------------------------- what is drawn


@pytest.mark.parametrize("steps", [1, 5, 10])
def test_sampling_is_eulers_method(steps):
    flow = GaussianFlow()
    noise = torch.randn(2, ROWS, SIZE, generator=torch.Generator().manual_seed(3))
    condition = torch.full((2, SIZE), 0.2)
    x, dt = noise.clone(), -1.0 / steps
    for step in range(steps):
        t = torch.full((2, 1), 1.0 + step * dt, dtype=torch.float64)
        x = x + dt * flow.denoise(x, (t, condition.double()), "arm")
    ours = Sampler(flow, replace(EULER, steps=steps)).sample(condition, torch.zeros(2, 2), "arm", noise=noise)
    torch.testing.assert_close(ours, x, rtol=1e-5, atol=1e-5)


def test_a_gaussian_comes_out_with_its_mean_and_covariance():
    flow = GaussianFlow()
    chunks = draw(flow, batch=2000, mean=0.4, config=replace(EULER, steps=100)).double()
    torch.testing.assert_close(chunks.mean(dim=(0, 2)), torch.full((ROWS,), 0.4).double(), rtol=0, atol=0.02)
    centred = chunks.transpose(1, 2).reshape(-1, ROWS) - 0.4
    covariance = centred.T @ centred / len(centred)
    torch.testing.assert_close(covariance, flow.covariance, rtol=0, atol=0.006)


def test_both_ways_are_taken_as_often_as_demonstrated_and_none_in_between():
    drawn = draw(TwoWays(), batch=500, config=replace(EULER, steps=50))
    assert (drawn > 0).double().mean().item() == pytest.approx(0.75, abs=0.02)
    assert (drawn.abs() - 0.6).abs().max() < 0.3
    assert (drawn.abs() - 0.6).std().item() == pytest.approx(0.05, rel=0.15)


def test_a_small_expert_learns_a_chunk():
    torch.manual_seed(0)
    expert = expert_from_config(expert_preset("scaledp-nano", objective="flow_matching"), {"arm": ARM})
    chunks = torch.rand(2, ROWS, SIZE) * 2 - 1
    condition, state = torch.randn(2, 64), torch.randn(2, 2)
    optimizer = torch.optim.Adam(expert.parameters(), lr=5e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(150):
        optimizer.zero_grad()
        diffusion_loss(
            expert, chunks, condition, state, "arm", repeats=8, generator=generator
        ).backward()
        optimizer.step()
    drawn = Sampler(expert, EULER).sample(condition, state, "arm", generator=generator)
    assert (drawn - chunks).abs().mean() < 0.15


# ---------------------------------------------------------------------- known rows


@pytest.mark.parametrize("continuity", ["none", "inpaint", "guided"])
def test_committed_rows_come_back_exactly(continuity):
    prefix = torch.rand(4, 4, SIZE, generator=torch.Generator().manual_seed(1))
    config = replace(EULER, continuity=continuity)
    chunk = draw(GaussianFlow(), config=config, prefix=prefix, scheduled=rows(3, 0.2))
    assert torch.equal(chunk[:, :4], prefix)


def test_rows_behind_the_committed_ones_follow_them():
    jumps = {
        mode: (
            draw(GaussianFlow(), config=replace(EULER, continuity=mode), prefix=rows(4, 0.5))[:, 4] - 0.5
        ).abs().mean()
        for mode in ("none", "inpaint", "guided")
    }
    assert jumps["inpaint"] < 0.7 * jumps["none"]
    assert jumps["guided"] < jumps["inpaint"]


def test_guidance_draws_the_chunk_to_the_scheduled_rows():
    known = {"prefix": rows(2, 0.4), "scheduled": rows(5, 0.4)}
    away = {}
    for mode in ("none", "inpaint", "guided"):
        chunk = draw(GaussianFlow(), config=replace(EULER, continuity=mode), **known)
        away[mode] = (chunk[:, 2:7] - 0.4).abs().mean()
    assert away["guided"] < 0.7 * away["inpaint"]
    assert away["guided"] < 0.7 * away["none"]


def test_the_guidance_weight_is_that_of_real_time_chunking():
    """(1 - tau) min(beta, (1 - tau) / (tau r^2)); at tau = 0, where the second has no limit, beta."""
    solver, beta = make_solver("euler", 10), 5.0
    weights = guidance_weights(solver.signal, solver.level, beta)
    assert weights[0] == beta
    for tau, weight in zip(solver.signal[1:], weights[1:], strict=True):
        r2 = (1 - tau) ** 2 / (tau**2 + (1 - tau) ** 2)
        assert weight == pytest.approx((1 - tau) * min(beta, (1 - tau) / (tau * r2)))


def test_a_guided_step_is_that_of_real_time_chunking():
    """x' = x + (v + weight J^T W (target - clean)) / steps, in the paper's direction of time."""
    flow, steps = GaussianFlow(), 2
    noise = torch.randn(1, ROWS, SIZE, generator=torch.Generator().manual_seed(0))
    condition, target = torch.zeros(1, SIZE), rows(4, 0.3, 1)
    drawn = Sampler(flow, replace(EULER, steps=steps)).sample(
        condition, torch.zeros(1, 2), "arm", noise=noise, scheduled=target
    )
    mask = torch.tensor([*soft_mask(0, 4), *[0.0] * (ROWS - 4)]).unsqueeze(1)
    padded = torch.cat([target, torch.zeros(1, ROWS - 4, SIZE)], dim=1)
    x, beta = noise, 5.0
    for tau in (0.0, 0.5):
        leaf = x.clone().requires_grad_()
        t = torch.tensor([[1 - tau]], dtype=torch.float64)
        velocity = -flow.denoise(leaf, (t, condition.double()), "arm")
        clean = leaf + (1 - tau) * velocity
        (pulled,) = torch.autograd.grad(clean, leaf, mask * (padded - clean.detach()))
        r2 = (1 - tau) ** 2 / (tau**2 + (1 - tau) ** 2)
        weight = beta if tau == 0 else min(beta, (1 - tau) / (tau * r2))
        x = (x + (velocity.detach() + weight * pulled) / steps).detach()
    torch.testing.assert_close(drawn, x, rtol=1e-4, atol=1e-4)


# ---------------------------------------------------------------------- configuration


def test_objective_and_solver_must_go_together():
    expert = expert_from_config(expert_preset("unet-nano", objective="flow_matching"), {"arm": ARM})
    with pytest.raises(UserError, match="sampling.solver is 'ddim'.*'flow_matching' are euler"):
        Sampler(expert)
    with pytest.raises(UserError, match="sampling.solver is 'euler'.*'diffusion' are ddim, dpm"):
        Sampler(expert_from_config(expert_preset("unet-nano"), {"arm": ARM}), EULER)
    Sampler(expert, EULER)


def test_the_objective_is_kept_with_the_checkpoint():
    config = expert_preset("scaledp-nano", objective="flow_matching")
    assert expert_config_from_json(vars(config), "config.json") == config
    # Checkpoints from before there was a choice.
    old = {name: value for name, value in vars(config).items() if name != "objective"}
    assert expert_config_from_json(old, "config.json").objective == "diffusion"
    with pytest.raises(UserError, match="expert.objective is 'gan', allowed are diffusion, flow_matching"):
        expert_preset("unet-nano", objective="gan")
