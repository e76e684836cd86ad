"""The tokenizer of small backbones."""

import pytest

from dexvla_model.errors import UserError
from dexvla_model.vlm import load_tokenizer, special_token_ids, train_tokenizer
from dexvla_model.vlm.tokenizer import SPECIAL_TOKENS


@pytest.mark.parametrize(
    "text", ["move above the cube at -35 60", "grüße, 🤖\n\tdone", "", "12-34 5", "  two  spaces "]
)
def test_every_text_survives_the_round_trip(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_frequent_numbers_are_one_token(tokenizer):
    for number in (" 45", " -35", " 0"):
        assert len(tokenizer.encode(f"at{number}")) == 1 + len(tokenizer.encode("at"))


def test_special_tokens_are_single_and_distinct(tokenizer):
    ids = [tokenizer.encode(token) for token in SPECIAL_TOKENS]
    assert all(len(i) == 1 for i in ids)
    assert len({i[0] for i in ids}) == len(SPECIAL_TOKENS)


def test_the_embedding_has_room_for_every_token(tokenizer):
    ids = special_token_ids(tokenizer)
    assert ids["vocab_size"] >= len(tokenizer)
    assert ids["vocab_size"] % 64 == 0


def test_training_is_deterministic():
    corpus = ["put the red cube in the tray", "move to 10 -20", "close the gripper"]
    assert train_tokenizer(corpus, 400).get_vocab() == train_tokenizer(corpus, 400).get_vocab()


def test_it_survives_the_folder(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    text = "<|im_start|>put the cube at -35"
    assert load_tokenizer(tmp_path).encode(text) == tokenizer.encode(text)


def test_bad_input_is_refused(tmp_path):
    with pytest.raises(UserError, match="vocab_size is 100"):
        train_tokenizer(["a"], 100)
    with pytest.raises(UserError, match="corpus"):
        train_tokenizer([""], 400)
    with pytest.raises(UserError, match="tokenizer.json is missing"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="tokenizer.json cannot be read"):
        load_tokenizer(tmp_path)
