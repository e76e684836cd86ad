"""The fusion of prompt and reasoning."""

import torch

from dexvla_model.fusion import Fusion, masked_mean


def example(width=12):
    torch.manual_seed(0)
    fusion = Fusion(width)
    with torch.no_grad():
        for weight in fusion.parameters():
            weight.normal_(0, 0.3)
    return fusion


def one_sample(fusion, prompt, reasoning):
    """The published fusion of one sample: prompt (P, D) and reasoning (R, D) states."""
    a = fusion.input_action_proj(prompt.mean(0))
    b = fusion.reasoning_action_proj(reasoning.mean(0))
    film = fusion.reasoning_film
    return a * (1 + film.scale_fc(b)) + film.shift_fc(b) + prompt.mean(0)


@torch.no_grad()
def test_a_padded_batch_equals_its_samples_one_by_one():
    fusion, hidden = example(), torch.randn(3, 9, 12)
    # Prompt and reasoning lengths with padding on the left, on the right, and in between.
    prompt, reasoning = torch.zeros(2, 3, 9, dtype=torch.bool)
    prompt[0, 2:6] = reasoning[0, 6:9] = True
    prompt[1, 0:3] = reasoning[1, 3:5] = True
    prompt[2, 0:2] = reasoning[2, 6:9] = True
    expected = torch.stack([one_sample(fusion, h[p], h[r]) for h, p, r in zip(hidden, prompt, reasoning)])
    torch.testing.assert_close(fusion(hidden, prompt, reasoning), expected.unsqueeze(1))


@torch.no_grad()
def test_what_the_masks_leave_out_does_not_matter():
    fusion, hidden = example(), torch.randn(1, 6, 12)
    prompt = torch.tensor([[True, True, False, False, False, False]])
    reasoning = torch.tensor([[False, False, False, True, True, False]])
    other = hidden.clone()
    other[:, [2, 5]] = 1e3
    torch.testing.assert_close(fusion(other, prompt, reasoning), fusion(hidden, prompt, reasoning))


@torch.no_grad()
def test_film_starts_as_the_identity():
    fusion, hidden = Fusion(12), torch.randn(2, 5, 12)
    prompt = torch.tensor([[True, True, True, False, False]] * 2)
    mean = hidden[:, :3].mean(1)
    torch.testing.assert_close(fusion(hidden, prompt, ~prompt)[:, 0], fusion.input_action_proj(mean) + mean)


def test_an_empty_mask_gives_zero_not_nan():
    assert not masked_mean(torch.randn(1, 4, 3), torch.zeros(1, 4, dtype=torch.bool)).any()
