"""Embeddings of numbers before training."""

import torch

from dexvla_model.vlm import Backbone, initialise_number_embeddings


def embeddings(backbone, tokenizer, texts):
    ids = [tokenizer.encode(text) for text in texts]
    assert all(len(i) == 1 for i in ids)
    return backbone.qwen.model.language_model.embed_tokens.weight.detach()[[i[0] for i in ids]]


def test_neighbouring_numbers_start_alike_and_distant_ones_apart(model_config, tokenizer):
    backbone = Backbone(model_config.vlm)
    assert initialise_number_embeddings(backbone, tokenizer) > 20
    near, far, low = embeddings(backbone, tokenizer, [" 45", " 50", " -35"])
    assert torch.dist(near, far) < 0.8 * torch.dist(near, low)
    assert torch.cosine_similarity(near, low, dim=0) < 0.8


def test_other_tokens_keep_their_embeddings(model_config, tokenizer):
    backbone = Backbone(model_config.vlm)
    words = ["move", " cube", "<|im_end|>"]
    before = embeddings(backbone, tokenizer, words).clone()
    initialise_number_embeddings(backbone, tokenizer)
    assert torch.equal(embeddings(backbone, tokenizer, words), before)
