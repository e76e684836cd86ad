"""Samples of several robots in one pass through the trunk: each comes out as it would on its own."""

import pytest
import torch

from dexvla_model.expert import ChunkBatch, EmbodimentConfig, diffusion_loss, mixed_diffusion_loss
from dexvla_model.expert.loss import mixed_diffusion_losses
from dexvla_model.expert.row_padding import pad_rows, split_rows

ROBOTS = {
    "arm": EmbodimentConfig(state_size=7, action_size=6, horizon=8),
    "hand": EmbodimentConfig(state_size=20, action_size=16, horizon=13),
    "gripper": EmbodimentConfig(state_size=3, action_size=1, horizon=2),
    "legs": EmbodimentConfig(state_size=5, action_size=4, horizon=13),
}


@pytest.fixture
def expert(kind, make_expert):
    return make_expert(kind, ROBOTS)


def chunks(embodiment: str, count: int, chunks_per_condition: int = 0, repeats: int = 1) -> ChunkBatch:
    """A part with noise, time steps and padding given, so that it can be computed twice."""
    generator = torch.Generator().manual_seed(0)
    robot = ROBOTS[embodiment]
    leading = (count, chunks_per_condition) if chunks_per_condition else (count,)
    samples = count * max(1, chunks_per_condition) * repeats
    return ChunkBatch(
        embodiment,
        actions=torch.rand(*leading, robot.horizon, robot.action_size, generator=generator) * 2 - 1,
        condition=torch.randn(count, 1, 64, generator=generator),
        state=torch.randn(*leading, robot.state_size, generator=generator),
        is_pad=torch.rand(*leading, robot.horizon, generator=generator) > 0.8,
        noise=torch.randn(samples, robot.horizon, robot.action_size, generator=generator),
        t=torch.randint(0, 100, (samples,), generator=generator),
    )


def alone(expert, part: ChunkBatch, **options) -> torch.Tensor:
    given = {"is_pad": part.is_pad, "noise": part.noise, "t": part.t}
    return diffusion_loss(
        expert, part.actions, part.condition, part.state, part.embodiment, **given, **options
    )


MIXTURES = {
    "all different": (("arm", 3), ("hand", 2), ("gripper", 1), ("legs", 2)),
    "same horizon": (("hand", 2), ("legs", 3)),
    "one robot twice": (("arm", 1), ("arm", 2)),
    "shorter first": (("gripper", 4), ("hand", 1)),
}


@torch.no_grad()
@pytest.mark.parametrize("mixture", MIXTURES.values(), ids=MIXTURES)
def test_noise_of_a_mixture_equals_that_of_its_parts(expert, make_inputs, mixture):
    inputs = [(name, *make_inputs(ROBOTS[name], count, seed=i)) for i, (name, count) in enumerate(mixture)]
    embedded = expert.embed_mixed([(name, condition, state) for name, _, _, condition, state in inputs])
    time = expert.embed_time(torch.cat([t for _, _, t, _, _ in inputs]))
    modulations = expert.modulations(expert.combine_time(time, torch.cat(embedded)))
    noises = expert.denoise_mixed([(name, x) for name, x, *_ in inputs], modulations)
    for (name, x, t, condition, state), noise in zip(inputs, noises, strict=True):
        expected = expert(x, t, condition, state, name)
        assert expected.abs().max() > 0.1
        torch.testing.assert_close(noise, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_chunks_shorter_than_the_horizon_mix_as_well(expert, make_inputs):
    inputs = [make_inputs(ROBOTS["hand"], 2, rows=rows) for rows in (3, 10)]
    embedded = [expert.embed_condition(condition, state, "hand") for _, _, condition, state in inputs]
    time = expert.embed_time(torch.cat([t for _, t, _, _ in inputs]))
    modulations = expert.modulations(expert.combine_time(time, torch.cat(embedded)))
    noises = expert.denoise_mixed([("hand", x) for x, *_ in inputs], modulations)
    for each, noise in zip(inputs, noises, strict=True):
        torch.testing.assert_close(noise, expert(*each, "hand"), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_several_states_per_condition_mix_with_single_ones(expert):
    parts = [chunks("arm", 2, chunks_per_condition=3), chunks("hand", 3)]
    embedded = expert.embed_mixed([(part.embodiment, part.condition, part.state) for part in parts])
    assert [tuple(e.shape[:-1]) for e in embedded] == [(2, 3), (3,)]
    for part, together in zip(parts, embedded, strict=True):
        expected = expert.embed_condition(part.condition, part.state, part.embodiment)
        torch.testing.assert_close(together, expected, rtol=1e-5, atol=1e-5)


def test_the_trunk_runs_once(expert, make_inputs):
    calls = []
    expert.get_submodule("blocks.0" if hasattr(expert, "blocks") else "entry").register_forward_hook(
        lambda *_: calls.append(1)
    )
    mixed_diffusion_loss(expert, [chunks("arm", 2), chunks("hand", 3), chunks("gripper", 1)])
    assert len(calls) == 1


def test_losses_and_gradients_of_a_mixture_are_those_of_its_parts(expert):
    """Every weight of trunk and heads gets the gradient of the weighted sum of the parts' own losses."""
    parts = [chunks("arm", 2, chunks_per_condition=2, repeats=2), chunks("hand", 3, repeats=2)]
    rows = [2 * 2 * 8, 3 * 13]

    def gradients(loss):
        expert.zero_grad()
        loss.backward()
        return {name: weight.grad for name, weight in expert.named_parameters()}

    separate = [alone(expert, part, repeats=2) for part in parts]
    expected = sum(loss * n / sum(rows) for loss, n in zip(separate, rows, strict=True))
    wanted = gradients(expected)
    together = mixed_diffusion_loss(expert, parts, repeats=2)
    torch.testing.assert_close(together, expected, rtol=1e-5, atol=0)
    for name, gradient in gradients(together).items():
        if name.startswith(("heads.gripper", "heads.legs")):
            assert gradient is None
            continue
        assert gradient.any(), name
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-4, atol=1e-5, msg=name)
    for loss, own in zip(mixed_diffusion_losses(expert, parts, repeats=2), separate, strict=True):
        torch.testing.assert_close(loss, own, rtol=1e-5, atol=0)


@torch.no_grad()
def test_a_mixture_of_one_robot_is_one_batch(expert):
    """Splitting a batch in two does not change its loss."""
    whole = chunks("arm", 5)
    halves = [
        ChunkBatch("arm", **{key: value[rows] for key, value in vars(whole).items() if key != "embodiment"})
        for rows in (slice(0, 2), slice(2, 5))
    ]
    torch.testing.assert_close(mixed_diffusion_loss(expert, halves), alone(expert, whole), rtol=1e-5, atol=0)
    assert torch.equal(mixed_diffusion_loss(expert, [whole]), alone(expert, whole))


@torch.no_grad()
def test_the_draws_come_from_the_generator(expert):
    parts = []
    for name, robot in ROBOTS.items():
        actions, state = torch.zeros(2, robot.horizon, robot.action_size), torch.zeros(2, robot.state_size)
        parts.append(ChunkBatch(name, actions, torch.zeros(2, 64), state))

    def loss(seed):
        return mixed_diffusion_loss(expert, parts, generator=torch.Generator().manual_seed(seed))

    assert torch.equal(loss(1), loss(1))
    assert not torch.equal(loss(1), loss(2))


@pytest.mark.parametrize("axis", [1, 2])
def test_rows_are_padded_with_zeros_and_come_apart_again(axis):
    parts = [torch.ones(2, 5, 5).narrow(axis, 0, rows) for rows in (3, 5)]
    stacked, lengths = pad_rows(parts, axis)
    assert lengths.tolist() == [3, 3, 5, 5]
    assert stacked.shape == (4, 5, 5)
    assert stacked.sum() == 2 * 3 * 5 + 2 * 5 * 5
    assert all(torch.equal(a, b) for a, b in zip(split_rows(stacked, parts, axis), parts, strict=True))


def test_nothing_is_padded_where_all_rows_count():
    same = [torch.ones(2, 4, 3), torch.zeros(1, 4, 3)]
    stacked, lengths = pad_rows(same, 1)
    assert lengths is None and torch.equal(stacked, torch.cat(same))
    single, lengths = pad_rows(same[:1], 1)
    assert lengths is None and single is same[0]
