"""Drafted decoding says what greedy decoding says, whatever the draft."""

import random

import pytest
import torch

from dexvla_model.reasoning import decode_with_draft
from dexvla_model.vlm.images import pixel_values

MAX_TOKENS = 12


class Case:
    """One random model with one scene, and its greedy answer by transformers' `generate`."""

    def __init__(self, model, prompt, images, instruction):
        self.model, self.prompt = model, prompt
        vlm = model.vlm
        ids = torch.tensor([prompt.prompt_ids(instruction)])
        with torch.no_grad():
            self.embedded = vlm.embed(ids, vlm.encode_images(images), prompt.image_slots)
        patches = [pixel_values(batch, vlm.geometry) for batch in images.values()]
        answer = vlm.qwen.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            pixel_values=torch.cat([values for values, _ in patches]),
            image_grid_thw=torch.cat([grid for _, grid in patches]),
            mm_token_type_ids=(ids == vlm.qwen.config.image_token_id).int(),
            do_sample=False,
            max_new_tokens=MAX_TOKENS,
            eos_token_id=prompt.end_id,
            pad_token_id=prompt.pad_id,
        )[0, ids.shape[1] :].tolist()
        self.answer = answer[: answer.index(prompt.end_id)] if prompt.end_id in answer else answer

    @torch.no_grad()
    def decode(self, draft):
        return decode_with_draft(
            self.model.vlm,
            self.embedded,
            self.prompt.position_ids(self.embedded.shape[1] + MAX_TOKENS),
            draft,
            end_id=self.prompt.end_id,
            max_tokens=MAX_TOKENS,
        )


@pytest.fixture
def make_case(make_model, make_images, tokenizer, robot):
    def make(seed: int, end_bias: float = 0.0) -> Case:
        model = make_model(seed, std=0.2)
        # Zero positions, because transformers' Qwen2-VL has none.
        for weight in model.vlm.patch_positions.parameters():
            weight.data.zero_()
        prompt = model.prompt(tokenizer, robot.embodiment)
        if end_bias:
            # The tied embedding of <|im_end|> leans on a direction that the final norm has plenty of.
            with torch.no_grad():
                embedding = model.vlm.qwen.model.language_model.embed_tokens.weight
                embedding[prompt.end_id] = end_bias * embedding.std() * torch.randn(embedding.shape[1]).sign()
        return Case(
            model, prompt, make_images(1, seed), random.Random(seed).choice(["go", "put the red cube away"])
        )

    return make


def drafts(answer, generator):
    """Drafts that a changing scene leaves: equal, empty, changed, cut, extended, shifted, foreign."""
    yield list(answer)
    yield []
    for _ in range(3):
        changed = list(answer)
        if changed:
            changed[generator.randrange(len(changed))] = generator.randrange(300)
        yield changed
    yield answer[: len(answer) // 2]
    yield [*answer, 270, 271, 272]
    yield answer[1:]
    yield [generator.randrange(300) for _ in range(20)]


@pytest.mark.parametrize("seed", range(12))
def test_every_draft_gives_the_greedy_answer(make_case, seed):
    case = make_case(seed, end_bias=2.0 if seed % 2 else 0.0)
    plain = case.decode([])
    assert plain.ids == case.answer
    for draft in drafts(case.answer, random.Random(seed)):
        drafted = case.decode(draft)
        assert drafted.ids == case.answer
        assert drafted.hidden_states.shape[1] == drafted.prompt_length + len(case.answer)
        torch.testing.assert_close(drafted.hidden_states, plain.hidden_states, rtol=1e-3, atol=1e-4)
        assert drafted.passes <= max(1, plain.passes)


def test_the_cases_end_both_ways(make_case):
    """The comparison above covers answers that end by themselves and answers that are cut off."""
    lengths = {len(make_case(seed, end_bias=2.0 if seed % 2 else 0.0).answer) for seed in range(12)}
    assert MAX_TOKENS in lengths
    assert min(lengths) < MAX_TOKENS


def test_a_right_draft_takes_one_pass(make_case):
    case = make_case(0)
    assert case.decode(case.answer).passes == 1
    assert case.decode([]).passes == len(case.answer) + 1


def test_the_end_of_the_turn_in_a_draft_is_ignored(make_case):
    case = make_case(0)
    assert case.decode([*case.answer[:3], case.prompt.end_id, *case.answer[3:]]).ids == case.answer
