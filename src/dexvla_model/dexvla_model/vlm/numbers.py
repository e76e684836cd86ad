"""Starting values for the embeddings of numbers."""

import math
import re

import torch
from transformers import PreTrainedTokenizerFast

from dexvla_model.vlm.backbone import Backbone

# Length scales of the features, in units of the number: what is told apart, and what is alike.
_SHORTEST, _LONGEST = 1.5, 18.0


@torch.no_grad()
def initialise_number_embeddings(
    backbone: Backbone, tokenizer: PreTrainedTokenizerFast, seed: int = 0
) -> int:
    """Give tokens that are whole numbers, such as " -12", embeddings that are close where the numbers are.

    Random Fourier features (Rahimi & Recht 2007) of the number, as large as embeddings are anyway. Without
    pretraining, a backbone would otherwise have to learn the meaning of each by itself.

    Returns:
        how many tokens are numbers.
    """
    numbers: dict[int, int] = {}
    for token_id in tokenizer.get_vocab().values():
        text = tokenizer.decode([token_id])
        if re.fullmatch(r" -?[0-9]+", text):
            numbers[token_id] = int(text)
    if not numbers:
        return 0
    weight = backbone.qwen.model.language_model.embed_tokens.weight
    values = torch.tensor(list(numbers.values()), dtype=torch.float32)
    features = number_features(values, weight.shape[1], _SHORTEST, _LONGEST, seed)
    weight[list(numbers)] = weight.std() * features.to(weight)
    return len(numbers)


def number_features(
    values: torch.Tensor, width: int, shortest: float, longest: float, seed: int = 0
) -> torch.Tensor:
    """Random Fourier features (N, width) of numbers (N,), alike where numbers are, of a variance near 1.

    Args:
        shortest, longest: length scales between which numbers are told apart.
    """
    generator = torch.Generator().manual_seed(seed)
    scales = shortest * (longest / shortest) ** torch.rand(width, generator=generator)
    frequencies = torch.randn(width, generator=generator) / scales
    phases = 2 * math.pi * torch.rand(width, generator=generator)
    shared = 0.5 * torch.randn(width, generator=generator)
    return shared + math.sqrt(2) * torch.cos(frequencies * values.unsqueeze(1) + phases)
