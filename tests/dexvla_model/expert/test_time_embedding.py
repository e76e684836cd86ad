"""The sinusoid of the published checkpoints, bfloat16 and all."""

import math

import torch

from dexvla_model.expert.time_embedding import sinusoidal_time_embedding


def test_frequencies_and_output_are_rounded_to_bfloat16():
    t = torch.tensor([0, 1, 17, 99])
    frequencies = torch.exp(-math.log(10000) * torch.arange(128, dtype=torch.bfloat16) / 128)
    assert frequencies.dtype == torch.bfloat16
    angles = t[:, None].float() * frequencies.float()[None]
    expected = torch.cat([angles.cos(), angles.sin()], dim=1).bfloat16()
    assert torch.equal(sinusoidal_time_embedding(t, 256), expected)


def test_it_differs_from_the_exact_sinusoid_by_more_than_rounding():
    """What a checkpoint would be off by if someone computed this more exactly."""
    t = torch.tensor([99])
    angles = 99 * torch.exp(-math.log(10000) * torch.arange(128) / 128)
    exact = torch.cat([angles.cos(), angles.sin()]).unsqueeze(0)
    assert (sinusoidal_time_embedding(t, 256).float() - exact).abs().max() > 0.05
