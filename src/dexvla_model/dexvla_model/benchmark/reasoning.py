"""Reasoning: a sub-step by drafted decoding beside the same sub-step by transformers' own `generate`."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from dexvla_model.benchmark.machine import MachineRates, measure_rates
from dexvla_model.benchmark.memory import free_bytes
from dexvla_model.benchmark.random_backbone import as_transformers, random_reasoner, with_longest
from dexvla_model.benchmark.table import Row
from dexvla_model.benchmark.timing import alternating_medians_s
from dexvla_model.errors import UserError
from dexvla_model.reasoner import Reasoner
from dexvla_model.reasoning import block_rows
from dexvla_model.vlm import Backbone, backbone_preset
from dexvla_model.vlm.inference import pack_backbone
from dexvla_model.vlm.images import pixel_values

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# Columns and rows of vision tokens by camera: about 308 x 252 and 224 x 224 pixels, and a small robot's.
_PUBLISHED = {"scene": (11, 9), "wrist": (8, 8)}
SIZES = {
    "tiny": {"scene": (5, 4), "wrist": (3, 3)},
    "qwen2-vl-2b": _PUBLISHED,
    "qwen2.5-vl-3b": _PUBLISHED,
    "qwen3-vl-2b": _PUBLISHED,
}
SUB_STEP_TOKENS = 20
_INSTRUCTION = "put the red cube in the tray"
_SPARE_BYTES = 1.5e9


@dataclass(frozen=True)
class _Scenes:
    """Two scenes that take turns, so that no image is the one before, and what the model says in them."""

    images: tuple[dict[str, torch.Tensor], ...]
    answers: tuple[list[int], ...] = ()


def benchmark_reasoning(
    preset: str,
    dtype: str = "float32",
    device: str = "cpu",
    repeats: int = 5,
    progress: Callable[[str], None] = lambda what: None,
) -> list[Row]:
    """Time sub-steps of 20 tokens of one random backbone, batch 1, with the threads that torch has now.

    The sub-step is the model's own greedy answer, cut off after 20 tokens: nobody taught it when to end.
    Images are new in every cycle; both cut them into patches within their time.

    Args:
        preset: key of `SIZES`. dtype: key of `DTYPES`. device: as torch names it.
        repeats: sub-steps of each kind.
        progress: told what is going on.

    Returns:
        Rows for the prefill (images and prompt), the decoding part alone of an unchanged sub-step, and in
        total an unchanged one, one with two changed words, and one that the draft says nothing of.

    Raises:
        UserError: unknown size or type, or too little memory.
    """
    for name, value, allowed in (("preset", preset, SIZES), ("dtype", dtype, DTYPES)):
        if value not in allowed:
            raise UserError(f"{name} is {value!r}, allowed are {', '.join(allowed)}: choose one.")
    kind = DTYPES[dtype]
    # The plain weights for the baseline and, on a CPU, packed ones for ours.
    copies = 2 if torch.device(device).type == "cpu" else 1
    needed = copies * _parameters(preset) * kind.itemsize + _SPARE_BYTES
    if torch.device(device).type == "cpu" and needed > free_bytes():
        raise UserError(
            f"{preset} in {dtype} needs {needed / 1e9:.1f} GB, {free_bytes() / 1e9:.1f} GB are free: choose "
            "a smaller one."
        )
    progress("the machine's own rates")
    rates = measure_rates(device, kind)
    progress(f"{preset} in {dtype}")
    reasoner = random_reasoner(preset, kind, device, SIZES[preset], SUB_STEP_TOKENS)
    # It keeps the plain weights, of which only ours makes packed ones.
    theirs = as_transformers(reasoner.model.vlm)
    pack_backbone(reasoner.model.vlm)
    scenes = _scenes(reasoner, device)
    answers = tuple(reasoner.decode(images, _INSTRUCTION).ids for images in scenes.images)
    scenes = replace(scenes, answers=answers)
    same = sum(
        _generate(theirs, reasoner, images, SUB_STEP_TOKENS) == answer
        for images, answer in zip(scenes.images, answers, strict=True)
    )
    # The prompt alone: its last token says the first of the sub-step, which nobody decodes.
    prompt_only = Reasoner(with_longest(reasoner.model, 0), reasoner.prompt)
    # One turn for all calls of a reasoner, which keeps the tokens of images that are those of the call before.
    turns = {who: itertools.cycle(range(len(answers))) for who in (reasoner, prompt_only, theirs)}

    def ours(draft: Callable[[list[int]], list[int]], with_: Reasoner = reasoner) -> Callable:
        def decode():
            scene = next(turns[with_])
            return with_.decode(scenes.images[scene], _INSTRUCTION, draft(answers[scene]))

        return decode

    def generate(tokens: int) -> Callable:
        return lambda: _generate(theirs, reasoner, scenes.images[next(turns[theirs])], tokens)

    alternatives = {
        "generate the first token": generate(1),
        "generate all": generate(SUB_STEP_TOKENS),
        "prompt": ours(lambda answer: [], prompt_only),
        "unchanged": ours(lambda answer: answer),
        "changed": ours(_two_changed),
        "foreign": ours(lambda answer: [(token + 1) % 200 + 20 for token in answer]),
    }
    medians_s, results = alternating_medians_s(alternatives, repeats, device)
    ms = {name: 1e3 * seconds for name, seconds in medians_s.items()}
    agreement = f"{same} of {len(answers)} answers equal"
    return _rows(f"{preset} {dtype}", ms, results, reasoner, theirs, rates, agreement)


def _rows(
    name: str,
    ms: dict[str, float],
    results: dict,
    reasoner: Reasoner,
    plain: nn.Module,
    rates: MachineRates,
    agreement: str,
) -> list[Row]:
    """`plain`: the model with its weights as parameters, which packed ones are not."""
    prompt_tokens = results["prompt"].prompt_length
    language, vision = _layer_weights(plain)
    patches = len(reasoner.prompt.image_slots) * reasoner.model.vlm.geometry.merge**2
    read = sum(weight.nbytes for weight in plain.parameters())
    operations = 2.0 * (language * prompt_tokens + vision * patches)
    # Without blocks the draft goes through with the prompt, for which the weights are read anyway.
    weight = plain.lm_head.weight
    rows = block_rows(weight.dtype, weight.device)
    blocks = math.ceil(SUB_STEP_TOKENS / rows) if rows else 0
    decode_read = blocks * (language + weight.numel()) * weight.itemsize
    decode_operations = 2.0 * language * SUB_STEP_TOKENS
    prefill_floor = 1e3 * rates.floor_s(read, operations)
    decode_floor = 1e3 * rates.floor_s(decode_read, decode_operations)
    total_floor = prefill_floor + decode_floor
    limits = f"machine {rates.read_bytes_s / 1e9:.1f} GB/s, {rates.matrix_flop_s / 1e9:.0f} GFLOP/s"
    decoding = {
        "baseline": max(ms["generate all"] - ms["generate the first token"], decode_floor),
        # A difference of two times may come out as less than is possible.
        "ours": max(ms["unchanged"] - ms["prompt"], decode_floor),
    }
    passes = {key: results[key].passes for key in ("unchanged", "changed", "foreign")}
    return [
        Row(
            f"{name}: prefill",
            ms["generate the first token"],
            ms["prompt"],
            floor_ms=prefill_floor,
            notes=f"{prompt_tokens} tokens, {patches} patches; {limits}",
        ),
        Row(
            f"{name}: decoding, sub-step unchanged",
            decoding["baseline"],
            decoding["ours"],
            floor_ms=decode_floor,
            notes=f"{SUB_STEP_TOKENS} tokens, without the prefill; {agreement}",
        ),
        *(
            Row(
                f"{name}: in total, sub-step {what}",
                ms["generate all"],
                ms[key],
                floor_ms=total_floor,
                notes=f"{passes[key]} passes",
            )
            for key, what in (
                ("unchanged", "unchanged"),
                ("changed", "with two words changed"),
                ("foreign", "unlike the draft"),
            )
        ),
    ]


def _scenes(reasoner: Reasoner, device: torch.device | str) -> _Scenes:
    generator = torch.Generator().manual_seed(0)
    return _Scenes(
        tuple(
            {
                role: torch.randint(
                    0, 256, (1, size.height, size.width, 3), dtype=torch.uint8, generator=generator
                )
                for role, size in reasoner.prompt.cameras.items()
            }
            for _ in range(2)
        )
    )


@torch.no_grad()
def _generate(
    model: nn.Module, reasoner: Reasoner, images: dict[str, torch.Tensor], tokens: int
) -> list[int]:
    device, geometry = model.lm_head.weight.device, reasoner.model.vlm.geometry
    ids = torch.tensor([reasoner.prompt.prompt_ids(_INSTRUCTION)], device=device)
    patches = [pixel_values(image.to(device), geometry) for image in images.values()]
    said = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        pixel_values=torch.cat([values for values, _ in patches]),
        image_grid_thw=torch.cat([grid for _, grid in patches]),
        mm_token_type_ids=(ids == model.config.image_token_id).int(),
        do_sample=False,
        max_new_tokens=tokens,
        pad_token_id=reasoner.prompt.pad_id,
    )
    return said[0, ids.shape[1] :].tolist()


def _two_changed(answer: list[int]) -> list[int]:
    third = len(answer) // 3
    return [
        (token + 1) % 200 + 20 if place in (third, 2 * third) else token for place, token in enumerate(answer)
    ]


def _parameters(preset: str) -> int:
    with torch.device("meta"):
        return sum(weight.numel() for weight in Backbone(backbone_preset(preset)).parameters())


def _layer_weights(plain: nn.Module) -> tuple[int, int]:
    """Weights that every token of the language model, and every patch, is multiplied with."""
    language = sum(weight.numel() for weight in plain.model.language_model.layers.parameters())
    vision = sum(weight.numel() for weight in plain.model.visual.blocks.parameters())
    return language, vision
