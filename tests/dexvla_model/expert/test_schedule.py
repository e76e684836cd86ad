"""The noise schedule, against diffusers."""

import torch

from dexvla_model.expert.schedule import add_noise, ddim_scheduler


@torch.no_grad()
def test_noise_is_added_as_diffusers_does_it():
    generator = torch.Generator().manual_seed(2)
    actions, noise, t = torch.rand(2, 8, 6), torch.randn(2, 8, 6, generator=generator), torch.tensor([3, 97])
    torch.testing.assert_close(add_noise(actions, noise, t), ddim_scheduler().add_noise(actions, noise, t))
