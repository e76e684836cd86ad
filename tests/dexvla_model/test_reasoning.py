"""Drafted decoding says what greedy decoding says, whatever the draft: over thousands of cases.

Greedy decoding is transformers' `generate` in float32. In bfloat16, where nearly equal logits change places with
every other way to round, it is our own decoding without a draft, and equal means equal bit for bit.
"""

import itertools
import random
from dataclasses import dataclass, replace

import pytest
import torch

from dexvla_model.dexvla import DexVLA, DexVLAConfig, Embodiment
from dexvla_model.expert import EmbodimentConfig, expert_preset
from dexvla_model.reasoner import Reasoner
from dexvla_model.reasoning import block_rows
from dexvla_model.vlm import ImageSize, backbone_preset, special_token_ids
from dexvla_model.vlm.families import FAMILIES
from dexvla_model.vlm.images import pixel_values

MAX_TOKENS = 12
PRESETS = ("nano", "qwen2.5-vl-nano", "qwen3-vl-nano")
MODELS, SCENES = 8, 3
INSTRUCTIONS = ("go", "put the red cube away", "close the gripper")


@dataclass
class Case:
    """A model that sees one scene, and what it says there."""

    reasoner: Reasoner
    images: dict[str, torch.Tensor]
    instruction: str
    answer: list[int]

    def decode(self, draft=()):
        return self.reasoner.decode(self.images, self.instruction, draft)


def generated(model, prompt, images, instruction) -> list[int]:
    """What transformers' own `generate` says."""
    ids = torch.tensor([prompt.prompt_ids(instruction)])
    patches = [pixel_values(batch, model.vlm.geometry) for batch in images.values()]
    answer = model.vlm.qwen.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        pixel_values=torch.cat([values for values, _ in patches]),
        image_grid_thw=torch.cat([grid for _, grid in patches]),
        mm_token_type_ids=(ids == model.vlm.qwen.config.image_token_id).int(),
        do_sample=False,
        max_new_tokens=MAX_TOKENS,
        eos_token_id=prompt.end_id,
        pad_token_id=prompt.pad_id,
    )[0, ids.shape[1] :].tolist()
    return answer[: answer.index(prompt.end_id)] if prompt.end_id in answer else answer


@pytest.fixture(scope="session")
def make_reasoner(tokenizer):
    """A random model of a family. With an odd seed its answers tend to end by themselves."""

    def make(preset: str, seed: int, dtype=torch.float32, system="", text=None) -> Reasoner:
        torch.manual_seed(seed)
        vlm = backbone_preset(preset, special_token_ids(tokenizer), text=text)
        unit = FAMILIES[vlm.family].geometry.unit
        cameras = {"scene": ImageSize(3 * unit, 2 * unit), "wrist": ImageSize(2 * unit, 2 * unit)}
        head = EmbodimentConfig(state_size=2, action_size=2, horizon=2)
        expert = expert_preset("scaledp-nano", condition_width=vlm.width)
        config = DexVLAConfig(vlm, expert, {"arm": Embodiment(head, cameras)}, system)
        model = DexVLA(replace(config, max_reasoning_tokens=MAX_TOKENS)).eval()
        prompt = model.prompt(tokenizer, "arm")
        with torch.no_grad():
            for weight in model.vlm.qwen.parameters():
                if weight.dim() > 1:
                    weight.normal_(0, 1.6 * vlm.width**-0.5)
            if model.vlm.patch_positions is not None:
                for weight in model.vlm.patch_positions.parameters():
                    weight.zero_()
            if seed % 2:
                # The tied embedding of <|im_end|> leans on a direction that the final norm has plenty of.
                embedding = model.vlm.qwen.model.language_model.embed_tokens.weight
                embedding[prompt.end_id] = 2 * embedding.std() * torch.randn(embedding.shape[1]).sign()
        return Reasoner(model.to(dtype), prompt)

    return make


def scenes_of(reasoner, seed):
    """Images and instructions that change from cycle to cycle."""
    generator = torch.Generator().manual_seed(seed)
    for scene in range(SCENES):
        images = {
            role: torch.randint(
                0, 256, (1, size.height, size.width, 3), dtype=torch.uint8, generator=generator
            )
            for role, size in reasoner.prompt.cameras.items()
        }
        yield images, INSTRUCTIONS[(seed + scene) % len(INSTRUCTIONS)]


@pytest.fixture(scope="session")
def float_cases(make_reasoner):
    """(seed, cases of one model in float32) of every family, with the answers of transformers' `generate`."""
    families = []
    for preset, seed in itertools.product(PRESETS, range(MODELS)):
        reasoner = make_reasoner(preset, seed, system="be brief" if seed % 4 == 2 else "")
        cases = [
            Case(reasoner, *scene, generated(reasoner.model, reasoner.prompt, *scene))
            for scene in scenes_of(reasoner, seed)
        ]
        families.append((seed, cases))
    return families


def drafts(answer, others, generator):
    """What a changing scene leaves: equal, empty, of another scene, changed, cut, extended, shifted, foreign."""
    yield list(answer)
    yield []
    yield from others
    for _ in range(8):
        changed = list(answer)
        for _ in range(generator.randint(1, 3)):
            if changed:
                changed[generator.randrange(len(changed))] = generator.randrange(300)
        yield changed
    for _ in range(5):
        inserted = list(answer)
        inserted.insert(generator.randint(0, len(answer)), generator.randrange(300))
        yield inserted
    for _ in range(5):
        at = generator.randrange(max(1, len(answer)))
        yield answer[:at] + answer[at + 1 :]
    yield answer[: len(answer) // 2]
    yield [*answer, 270, 271, 272]
    yield answer[1:]
    yield answer[::-1]
    yield answer * 3
    for length in (1, 5, 20):
        yield [generator.randrange(300) for _ in range(length)]


def all_drafts(seed, cases):
    """(case, draft) with the scene changing from each to the next."""
    generator = random.Random(seed)
    by_case = []
    for case in cases:
        others = [other.answer for other in cases if other is not case]
        by_case.append([(case, draft) for draft in drafts(case.answer, others, generator)])
    return list(itertools.chain.from_iterable(zip(*by_case)))


def test_every_draft_gives_the_greedy_answer(float_cases):
    count = 0
    for seed, cases in float_cases:
        for case, draft in all_drafts(seed, cases):
            drafted = case.decode(draft)
            assert drafted.ids == case.answer, (seed, draft)
            # The end of the turn counts too; behind the longest sub-step it may be what comes next, or not.
            more = drafted.hidden_states.shape[1] - drafted.prompt_length - len(case.answer)
            assert more == 1 or (more == 0 and len(case.answer) == MAX_TOKENS)
            # A tie costs at most the undrafted way once more.
            assert drafted.passes <= 2 * (len(case.answer) + 2)
            count += 1
    assert count >= 2000


def test_states_do_not_depend_on_the_draft(float_cases):
    for seed, cases in float_cases[::3]:
        for case, draft in all_drafts(seed, cases)[::9]:
            torch.testing.assert_close(
                case.decode(draft).hidden_states, case.decode().hidden_states, rtol=1e-3, atol=1e-4
            )


def test_the_cases_are_of_all_kinds(float_cases):
    """The comparison covers answers that end by themselves or are cut off, and scenes that change them."""
    lengths = [len(case.answer) for _, cases in float_cases for case in cases]
    assert lengths.count(MAX_TOKENS) > 10
    assert sum(0 < length < MAX_TOKENS for length in lengths) > 10
    changed = [len({tuple(case.answer) for case in cases}) > 1 for _, cases in float_cases]
    assert sum(changed) > len(changed) // 2


@pytest.mark.parametrize("seeds", [range(2), pytest.param(range(2, 10), marks=pytest.mark.slow)])
@pytest.mark.parametrize("preset", PRESETS)
def test_in_bfloat16_states_are_equal_bit_for_bit(make_reasoner, preset, seeds):
    """Nearly equal logits are frequent there, so that only equal rounding gives equal answers."""
    count = 0
    for seed in seeds:
        reasoner = make_reasoner(preset, seed, torch.bfloat16)
        scenes = list(scenes_of(reasoner, seed))
        plain = [reasoner.decode(*scene) for scene in scenes]
        cases = [Case(reasoner, *scene, said.ids) for scene, said in zip(scenes, plain, strict=True)]
        by_case = dict(zip(map(id, cases), plain, strict=True))
        for case, draft in all_drafts(seed, cases):
            drafted = case.decode(draft)
            assert drafted.ids == case.answer
            assert torch.equal(drafted.hidden_states, by_case[id(case)].hidden_states)
            count += 1
    assert count > 80 * len(seeds)


def test_in_bfloat16_a_wide_model_rounds_the_same_with_every_draft(make_reasoner):
    """So wide that products of one row and of several round differently on common machines."""
    wide = {"hidden_size": 1024, "intermediate_size": 2048, "num_attention_heads": 64}
    reasoner = make_reasoner("nano", 0, torch.bfloat16, text=wide)
    generator = random.Random(0)
    for scene in itertools.islice(scenes_of(reasoner, 0), 2):
        plain = reasoner.decode(*scene)
        for draft in list(drafts(plain.ids, [], generator))[::4]:
            drafted = reasoner.decode(*scene, draft)
            assert drafted.ids == plain.ids
            assert torch.equal(drafted.hidden_states, plain.hidden_states)


def test_which_types_decode_in_blocks():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert block_rows(torch.float32, cpu) is None
    assert block_rows(torch.bfloat16, cpu) == block_rows(torch.float16, cpu) == 8
    assert block_rows(torch.bfloat16, gpu) == 24
    torch.set_float32_matmul_precision("high")
    try:
        assert block_rows(torch.float32, gpu) == 24
    finally:
        torch.set_float32_matmul_precision("highest")


def test_a_right_draft_takes_one_pass(float_cases):
    seed, cases = float_cases[0]
    for case in cases:
        # With the end of the turn in it, or cut off where the model may go on.
        assert case.decode(case.answer).passes == 1
        assert case.decode().passes >= len(case.answer)


def test_in_blocks_a_right_draft_takes_a_pass_for_eight_tokens(make_reasoner):
    reasoner = make_reasoner("nano", 0, torch.bfloat16)
    for scene in scenes_of(reasoner, 1):
        said = reasoner.decode(*scene)
        states = said.hidden_states.shape[1] - said.prompt_length
        assert reasoner.decode(*scene, said.ids).passes == 1 + -(-states // 8)


def test_one_changed_or_new_word_costs_a_pass_or_two(float_cases):
    for _, cases in float_cases:
        for case in cases:
            if len(case.answer) == MAX_TOKENS and len(set(case.answer)) == MAX_TOKENS:
                changed = [*case.answer[:5], 299, *case.answer[6:]]
                assert case.decode(changed).passes <= 3
                inserted = [*case.answer[:5], 299, *case.answer[5:]]
                assert case.decode(inserted).passes <= 4


def test_where_two_tokens_tie_the_draft_is_set_aside(make_reasoner):
    """All tokens say the same, so that every decision is a tie: the answer is that without a draft."""
    reasoner = make_reasoner("nano", 0)
    with torch.no_grad():
        embedding = reasoner.model.vlm.qwen.model.language_model.embed_tokens.weight
        embedding[300] = embedding[301]
        embedding[:] = embedding[300]
    images, instruction = next(scenes_of(reasoner, 0))
    plain = reasoner.decode(images, instruction)
    drafted = reasoner.decode(images, instruction, plain.ids)
    assert drafted.ids == plain.ids
    assert drafted.passes == plain.passes + 1
    assert torch.equal(drafted.hidden_states, plain.hidden_states)


@torch.no_grad()
def test_rounding_stays_far_below_what_counts_as_a_tie(float_cases):
    worst = 0.0
    for _, cases in float_cases:
        for case in cases:
            states = [case.decode(draft).hidden_states for draft in ([], case.answer)]
            logits = [case.reasoner.model.vlm.logits(each) for each in states]
            worst = max(worst, float((logits[0] - logits[1]).abs().max() / logits[0].abs().max()))
    assert 0 < worst < 0.25 * 256 * torch.finfo(torch.float32).eps


def test_the_end_of_the_turn_in_a_draft_is_ignored(float_cases):
    for _, cases in float_cases[:3]:
        for case in cases:
            end = case.reasoner.prompt.end_id
            assert case.decode([*case.answer[:3], end, *case.answer[3:]]).ids == case.answer
