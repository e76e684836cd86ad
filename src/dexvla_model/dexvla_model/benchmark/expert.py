"""The expert: a chunk by the inference engine beside a chunk by a straightforward loop over the same
network."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from dexvla_model.benchmark.machine import MachineRates, measure_rates
from dexvla_model.benchmark.memory import free_bytes
from dexvla_model.benchmark.table import Row
from dexvla_model.benchmark.timing import alternating_medians_s
from dexvla_model.errors import UserError
from dexvla_model.expert import (
    ActionExpert,
    EmbodimentConfig,
    Sampler,
    SamplingConfig,
    expert_from_config,
    expert_preset,
)
from dexvla_model.expert.inference import prepare_for_inference
from dexvla_model.expert.schedule import SAMPLE_STEPS, ddim_scheduler

EMBODIMENT = "arm"
# Name of the preset, and the head: two arms and 50 rows as published, one arm and 16 rows for the small one.
SIZES = {
    "tiny": ("scaledp-tiny", EmbodimentConfig(state_size=7, action_size=7, horizon=16)),
    "scaledp-l": ("scaledp-l", EmbodimentConfig(state_size=14, action_size=14, horizon=50)),
    "scaledp-h": ("scaledp-h", EmbodimentConfig(state_size=14, action_size=14, horizon=50)),
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# The solver with fewer steps that is shown beside the published one.
_FEWER = SamplingConfig(solver="dpm++", steps=5)
# Rows that a chunk has committed and scheduled when it is guided, as shares of the horizon.
_COMMITTED, _SCHEDULED = 0.25, 0.5
# More weights than this do not stay in a cache from one step to the next.
_CACHE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class ExpertWork:
    """What a chunk costs at least.

    Attributes:
        step_bytes, step_operations: of the network of one step: its weights, its multiplications and
            additions.
        once_bytes, once_operations: of everything that is computed once for a chunk.
    """

    step_bytes: int
    step_operations: int
    once_bytes: int
    once_operations: int

    def floor_s(self, rates: MachineRates, steps: int) -> float:
        """Least time of a chunk, s."""
        reads = steps if self.step_bytes > _CACHE_BYTES else 1
        return rates.floor_s(
            reads * self.step_bytes + self.once_bytes, steps * self.step_operations + self.once_operations
        )


def straightforward_chunk(
    expert: ActionExpert,
    condition: torch.Tensor,
    state: torch.Tensor,
    noise: torch.Tensor,
    embodiment: str,
    steps: int,
) -> torch.Tensor:
    """A chunk (B, T, A) as one would write it: the whole network and diffusers' scheduler, step by step."""
    scheduler = ddim_scheduler()
    scheduler.set_timesteps(steps, device=noise.device)
    x = noise
    for t in scheduler.timesteps:
        epsilon = expert(x.to(state.dtype), t.expand(len(x)), condition, state, embodiment)
        x = scheduler.step(epsilon.float(), t, x).prev_sample
    return x


def benchmark_expert(
    size: str,
    dtype: str = "float32",
    device: str = "cpu",
    repeats: int = 5,
    compile_network: bool = False,
    progress: Callable[[str], None] = lambda what: None,
) -> list[Row]:
    """Time chunks of one random expert, batch 1, with the threads that torch has now.

    Args:
        size: key of `SIZES`. dtype: key of `DTYPES`. device: as torch names it.
        repeats: chunks of each kind.
        compile_network: time ours with torch.compile, too.
        progress: told what is going on.

    Raises:
        UserError: unknown size or type, or too little memory.
    """
    for name, value, allowed in (("size", size, SIZES), ("dtype", dtype, DTYPES)):
        if value not in allowed:
            raise UserError(f"{name} is {value!r}, allowed are {', '.join(allowed)}: choose one.")
    kind = DTYPES[dtype]
    work = measure_work(size, kind)
    # The baseline's weights, ours in another order, and those of a step once more for the gradient of guided
    # chunks.
    needed = 3 * work.step_bytes + 2 * work.once_bytes + 2**30
    if torch.device(device).type == "cpu" and needed > free_bytes():
        raise UserError(
            f"{size} in {dtype} needs {needed / 1e9:.1f} GB, "
            f"{free_bytes() / 1e9:.1f} GB are free: choose a smaller one."
        )
    progress("the machine's own rates")
    rates = measure_rates(device, kind)
    progress(f"{size} in {dtype}")
    expert = random_expert(size, kind, device)
    head = expert.head(EMBODIMENT).config
    draw = torch.Generator().manual_seed(0)
    condition = torch.randn(1, expert.config.condition_width, generator=draw).to(device, kind)
    state = torch.randn(1, head.state_size, generator=draw).to(device, kind)
    noise = torch.randn(1, head.horizon, head.action_size, generator=draw).to(device)
    known = torch.rand(1, head.horizon, head.action_size, generator=draw).to(device) - 0.5
    committed, behind = round(_COMMITTED * head.horizon), round((_COMMITTED + _SCHEDULED) * head.horizon)
    engine = inference_copy(expert)

    def draw_with(config: SamplingConfig, **known_rows) -> Callable[[], torch.Tensor]:
        sampler = Sampler(engine, config)
        return lambda: sampler.sample(condition, state, EMBODIMENT, noise=noise, **known_rows)

    guided = {"prefix": known[:, :committed], "scheduled": known[:, committed:behind]}
    alternatives = {
        "loop": lambda: straightforward_chunk(expert, condition, state, noise, EMBODIMENT, SAMPLE_STEPS),
        "ours": draw_with(SamplingConfig()),
        "fewer": draw_with(_FEWER),
        "guided": draw_with(SamplingConfig(), **guided),
    }
    if compile_network:
        compiled = Sampler(expert, compile_network=True)
        alternatives["compiled"] = lambda: compiled.sample(condition, state, EMBODIMENT, noise=noise)
    with torch.no_grad():
        medians_s, chunks = alternating_medians_s(alternatives, repeats, device)
    loop_ms = medians_s["loop"] * 1e3

    def row(name: str, key: str, steps: int, notes: str) -> Row:
        floor_ms = work.floor_s(rates, steps) * 1e3
        return Row(f"{size} {dtype}: {name}", loop_ms, medians_s[key] * 1e3, floor_ms=floor_ms, notes=notes)

    difference = (chunks["ours"] - chunks["loop"]).abs().max().item()
    limits = f"machine {rates.read_bytes_s / 1e9:.1f} GB/s, {rates.matrix_flop_s / 1e9:.0f} GFLOP/s"
    rows = [row("chunk", "ours", SAMPLE_STEPS, f"largest difference {difference:.1e}; {limits}")]
    if compile_network:
        difference = (chunks["compiled"] - chunks["loop"]).abs().max().item()
        rows.append(row("chunk, compiled", "compiled", SAMPLE_STEPS, f"largest difference {difference:.1e}"))
    rows.append(
        row(f"chunk, {_FEWER.solver}", "fewer", _FEWER.steps, f"{_FEWER.steps} steps, another solver")
    )
    cost = medians_s["guided"] / medians_s["ours"]
    rows.append(
        Row(
            f"{size} {dtype}: chunk, guided",
            loop_ms,
            medians_s["guided"] * 1e3,
            notes=f"{cost:.1f} times a free chunk",
        )
    )
    return rows


def measure_work(size: str, dtype: torch.dtype) -> ExpertWork:
    """Count what a chunk of the expert costs, without weights."""
    preset, embodiment = SIZES[size]
    with torch.device("meta"):
        expert = expert_from_config(expert_preset(preset), {EMBODIMENT: embodiment}).to(dtype)
        condition = torch.empty(1, expert.config.condition_width, dtype=dtype)
        state = torch.empty(1, embodiment.state_size, dtype=dtype)
        x = torch.empty(1, embodiment.horizon, embodiment.action_size, dtype=dtype)
        t = torch.zeros(SAMPLE_STEPS, dtype=torch.int64)
        with FlopCounterMode(display=False) as once:
            embedded = expert.embed_condition(condition, state, EMBODIMENT)
            c = expert.combine_time(expert.embed_time(t).unsqueeze(1), embedded)
            of_steps = expert.modulations(c.flatten(0, 1))
        with FlopCounterMode(display=False) as step:
            out = expert.denoise(x, [m[:1].detach() for m in of_steps], EMBODIMENT)
    weights = list(expert.parameters())
    # The weights that a step needs are those that its output depends on.
    needed = torch.autograd.grad(out.sum(), weights, allow_unused=True)
    in_step = sum(w.nbytes for w, gradient in zip(weights, needed) if gradient is not None)
    total = sum(w.nbytes for w in weights)
    return ExpertWork(in_step, step.get_total_flops(), total - in_step, once.get_total_flops())


def random_expert(size: str, dtype: torch.dtype, device: torch.device | str = "cpu") -> ActionExpert:
    """An expert of that size whose random weights are small enough for sensible chunks."""
    preset, embodiment = SIZES[size]
    with torch.device("meta"):
        expert = expert_from_config(expert_preset(preset), {EMBODIMENT: embodiment}).to(dtype)
    expert = expert.to_empty(device=device).requires_grad_(False).eval()
    draw = torch.Generator(torch.device(device)).manual_seed(0)
    for weight in expert.parameters():
        weight.normal_(0.0, 0.02, generator=draw)
    return expert


def inference_copy(expert: ActionExpert) -> ActionExpert:
    """The expert prepared for inference; what is not packed is shared with the original."""
    with torch.device("meta"):
        copy = expert_from_config(expert.config, expert.embodiments).to(next(expert.parameters()).dtype)
    copy.load_state_dict(expert.state_dict(), assign=True)
    prepare_for_inference(copy, EMBODIMENT)
    return copy.eval()
