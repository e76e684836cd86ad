"""The sentence encoder: what a text's vector depends on."""

import pytest
import torch

from dexvla_model.conditioning import sentence_encoder_preset
from dexvla_model.conditioning.sentence_encoder import SentenceEncoder, sentence_of
from dexvla_model.errors import UserError
from dexvla_model.vlm import special_token_ids


@pytest.fixture
def encoder(tokenizer):
    torch.manual_seed(0)
    size = special_token_ids(tokenizer)["vocab_size"]
    return SentenceEncoder(sentence_encoder_preset("distilbert-nano", vocab_size=size, max_tokens=24)).eval()


def test_a_vector_for_each_text_in_their_order(encoder, tokenizer):
    vectors = encoder(["close the gripper", "done", "close the gripper"], tokenizer)
    assert vectors.shape == (3, encoder.config.width)
    assert torch.equal(vectors[0], vectors[2])
    assert not torch.allclose(vectors[0], vectors[1])


def test_the_company_of_longer_texts_does_not_matter(encoder, tokenizer):
    alone = encoder(["done"], tokenizer)
    beside = encoder(["put the red cube in the tray", "done"], tokenizer)
    torch.testing.assert_close(beside[1:], alone, rtol=1e-4, atol=1e-5)


def test_each_different_text_is_read_once(encoder, tokenizer):
    rows = []
    encoder.distilbert.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    encoder(["done"] * 5 + ["close the gripper"], tokenizer)
    assert rows == [2]


def test_training_is_deterministic(encoder, tokenizer):
    """No dropout: a resumed run must see what the interrupted one would have seen."""
    encoder.train()
    texts = ["put the red cube in the tray"]
    assert torch.equal(encoder(texts, tokenizer), encoder(texts, tokenizer))


def test_a_frozen_encoder_gets_no_gradients(tokenizer):
    config = sentence_encoder_preset("distilbert-nano", vocab_size=1024, frozen=True)
    encoder = SentenceEncoder(config)
    assert not encoder(["done"], tokenizer).requires_grad
    assert not any(weight.requires_grad for weight in encoder.parameters())


def test_texts_that_cannot_be_read_are_refused(encoder, tokenizer):
    with pytest.raises(UserError, match="the sentence encoder takes 24: shorten the instruction"):
        encoder(["put it there and " * 30], tokenizer)
    with pytest.raises(UserError, match="the instruction is empty"):
        encoder([""], tokenizer)


def test_the_sub_step_is_a_second_sentence():
    assert sentence_of("put the cube in the tray") == "put the cube in the tray"
    assert sentence_of("put the cube in the tray.", " grasp it ") == "put the cube in the tray. grasp it"
