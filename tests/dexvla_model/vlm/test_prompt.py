"""The prompt: layout, masks, labels, positions."""

import pytest
import torch

from dexvla_model.errors import UserError
from dexvla_model.vlm import ImageSize, Prompt
from dexvla_model.vlm.prompt import IGNORED

CAMERAS = {"scene": ImageSize(140, 112), "wrist": ImageSize(84, 84)}


@pytest.fixture
def prompt(tokenizer):
    return Prompt(tokenizer, CAMERAS)


def assert_same(ours, theirs):
    for name in ("input_ids", "prompt_mask", "reasoning_mask", "labels"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
    assert ours.left == theirs.left


def text_of(tokens, tokenizer, row, mask):
    return tokenizer.decode(tokens.input_ids[row][mask[row]])


def test_the_chat_in_words(prompt, tokenizer):
    tokens = prompt.encode(["put it away"], ["close the gripper"])
    image = "<|vision_start|>" + "<|image_pad|>" * 20 + "<|vision_end|>"
    wrist = "<|vision_start|>" + "<|image_pad|>" * 9 + "<|vision_end|>"
    assert tokenizer.decode(tokens.input_ids[0]) == (
        f"<|im_start|>user\n{image}{wrist}put it away<|im_end|>\n"
        "<|im_start|>assistant\nclose the gripper<|im_end|>"
    )


def test_a_system_text_stands_before_it(tokenizer):
    prompt = Prompt(tokenizer, CAMERAS, system="be brief")
    ids = prompt.encode(["go"], ["done"]).input_ids[0]
    assert tokenizer.decode(ids).startswith(
        "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\n<|vision_start|>"
    )


def test_masks_part_prompt_and_reasoning(prompt, tokenizer):
    tokens = prompt.encode(["put it away", "go"], ["done", "move above the cube at 10 -20"])
    for row, reasoning in enumerate(["done", "move above the cube at 10 -20"]):
        assert text_of(tokens, tokenizer, row, tokens.reasoning_mask) == reasoning + "<|im_end|>"
        assert text_of(tokens, tokenizer, row, tokens.prompt_mask).endswith("<|im_start|>assistant\n")
        assert text_of(tokens, tokenizer, row, tokens.labels != IGNORED) == reasoning + "<|im_end|>"
    assert not (tokens.prompt_mask & tokens.reasoning_mask).any()
    padding = ~(tokens.prompt_mask | (tokens.labels != IGNORED))
    assert (tokens.input_ids[padding] == prompt.pad_id).all()
    assert padding.any()


def test_image_slots_hold_the_image_tokens(prompt, tokenizer):
    ids = prompt.encode(["go"], ["done"]).input_ids[0]
    slots = torch.zeros(len(ids), dtype=torch.bool)
    slots[prompt.image_slots] = True
    assert torch.equal(slots, ids == tokenizer.convert_tokens_to_ids("<|image_pad|>"))


def test_some_rows_without_their_common_padding(prompt):
    tokens = prompt.encode(["go", "put it away", "go"], ["done", "move above the cube at 10 -20", "done"])
    short = tokens[torch.tensor([2, 0])]
    expected = prompt.encode(["go", "go"], ["done", "done"])
    assert_same(short, expected)


def test_some_rows_of_a_batch_that_is_padded_on_the_left(prompt):
    texts = ["go", "put it away", "go"], ["done", "move above the cube at 10 -20", "done"]
    tokens = prompt.encode(*texts, left=True)
    assert (tokens.input_ids[0, :3] == prompt.pad_id).all()
    assert_same(tokens[torch.tensor([2, 0])], prompt.encode(["go", "go"], ["done", "done"], left=True))
    assert torch.equal(tokens.attended, prompt.encode(*texts).attended.flip(1))


def test_the_end_of_the_turn_counts_as_reasoning_only_on_request(tokenizer):
    prompt = Prompt(tokenizer, CAMERAS, reasoning_includes_end=False)
    for left in (False, True):
        tokens = prompt.encode(["put it away", "go"], ["done", "close the gripper"], left=left)
        assert text_of(tokens, tokenizer, 0, tokens.reasoning_mask) == "done"
        assert text_of(tokens, tokenizer, 1, tokens.labels != IGNORED) == "close the gripper<|im_end|>"


def test_a_draft_is_never_refused(prompt):
    assert prompt.draft_ids("put <|im_end|> away") == []
    assert prompt.draft_ids("done") == prompt.reasoning_ids("done")


def test_positions_go_on_for_as_long_as_asked(prompt):
    short, long = prompt.position_ids(50), prompt.position_ids(2000)
    assert torch.equal(long[:, :, :50], short)
    assert torch.equal(long.diff(dim=2)[:, :, 60:], torch.ones(3, 1, 1939, dtype=torch.int64))


@pytest.mark.parametrize("text", ["put <|im_end|> away", "<|image_pad|>"])
def test_a_special_token_in_a_text_is_refused(prompt, text):
    with pytest.raises(UserError, match="special token"):
        prompt.encode([text], ["done"])


def test_texts_that_do_not_pair_are_refused(prompt):
    with pytest.raises(UserError, match="2 instructions came with 1"):
        prompt.encode(["a", "b"], ["c"])
