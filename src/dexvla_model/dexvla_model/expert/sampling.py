"""Drawing action chunks from an expert: all that can be known before the first step is computed before it.

The modulations of all steps come out of one batch, coefficients are plain numbers, and rows are updated in
place: inside the loop runs the network and nothing else that takes time.
"""

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

from dexvla_model.errors import UserError
from dexvla_model.expert.guidance import guidance_weights, pull, soft_mask
from dexvla_model.expert.interface import ActionExpert
from dexvla_model.expert.sampling_config import SamplingConfig, check_solver
from dexvla_model.expert.solvers import make_solver


class Sampler:
    """Draws chunks from an expert whose weights do not change any more. Not thread-safe.

    Shapes: B chunks, T rows, A action size, S state size, C condition width. Deterministic: equal arguments
    (and generators in equal states) give equal chunks.

    Args:
        expert: on the device and in the type in which it shall compute; rows are kept in float32.
        compile_network: run the network through torch.compile where no gradient is needed. On a CPU this
            packs the weights as well, and takes the expert as it was before `prepare_for_inference`.

    Raises:
        UserError: the solver is not one for the expert's objective.
    """

    def __init__(
        self, expert: ActionExpert, config: SamplingConfig = SamplingConfig(), compile_network: bool = False
    ) -> None:
        check_solver(config, expert.objective)
        self.expert = expert
        self._denoise = _compiled(expert) if compile_network else expert.denoise
        self.config = config
        self._solver = make_solver(config.solver, config.steps)
        self._guidance = guidance_weights(self._solver.signal, self._solver.level, config.guidance_max)
        self._time: torch.Tensor | None = None

    @torch.no_grad()
    def sample(
        self,
        condition: torch.Tensor,
        state: torch.Tensor,
        embodiment: str,
        *,
        noise: torch.Tensor | None = None,
        prefix: torch.Tensor | None = None,
        scheduled: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Action chunks (B, T, A), normalised, float32.

        Args:
            condition: (B, C) or (B, 1, C).
            state: (B, S), normalised.
            noise: (B, T, A) the sample to start from. Drawn with `generator` and scaled when None.
            prefix: (B, P, A) rows that are committed, normalised: returned as they are. What they do to the
                rows behind them is `SamplingConfig.continuity`.
            scheduled: (B, R, A) rows that the previous chunk had behind them; they count only when guided.

        Raises:
            UserError: unknown embodiment, a wrong width, or more known rows than the chunk has.
        """
        solver, continuity = self._solver, self.config.continuity
        if noise is None:
            noise = self.draw(len(state), embodiment, state.device, generator)
        x = noise.to(torch.float32, copy=True)
        known = _join(prefix, scheduled if continuity == "guided" else None, x)
        committed = 0 if prefix is None else prefix.shape[1]
        of_steps = self._modulations(condition, state, embodiment)
        held = None
        if committed and continuity != "none":
            # Committed rows at the noise level of every step (inpainting, Lugmayr et al. 2022).
            signal, level = (
                x.new_tensor(values).view(-1, 1, 1, 1) for values in (solver.signal, solver.level)
            )
            held = (signal * known[:, :committed] + level * x[:, :committed]).unbind(0)
        guided = continuity == "guided" and known is not None
        if guided:
            behind = x.shape[1] - known.shape[1]
            mask = x.new_tensor(
                [*soft_mask(committed, known.shape[1] - committed), *[0.0] * behind]
            ).unsqueeze(1)
            target = functional.pad(known, (0, 0, 0, behind))
        denoise = self.expert.denoise if guided else self._denoise
        for i, modulations in enumerate(of_steps):
            if held is not None:
                x[:, :committed] = held[i]
            with torch.set_grad_enabled(guided):
                rows = x.detach().requires_grad_(guided)
                output = denoise(rows, modulations, embodiment).to(torch.float32)
                epsilon, clean = solver.estimates(i, rows, output)
            if guided:
                weight, signal, level = self._guidance[i], solver.signal[i], solver.level[i]
                shift = pull(clean, rows, target, mask)
                clean = clean.detach().add_(shift, alpha=weight)
                epsilon = epsilon.detach().add_(shift, alpha=-weight * signal / level)
            solver.advance(i, x, epsilon, clean)
        if committed:
            x[:, :committed] = known[:, :committed]
        return x

    def draw(
        self,
        batch: int,
        embodiment: str,
        device: torch.device | str,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """The noise (B, T, A) that sampling starts from."""
        head = self.expert.head(embodiment).config
        noise = torch.randn(
            (batch, head.horizon, head.action_size), generator=generator, device=device, dtype=torch.float32
        )
        return noise.mul_(self.config.noise_scale)

    def _modulations(
        self, condition: torch.Tensor, state: torch.Tensor, embodiment: str
    ) -> Sequence[tuple[torch.Tensor, ...]]:
        """The modulations of every step, out of one batch: they do not depend on the sample."""
        expert, steps = self.expert, self.config.steps
        embedded = expert.embed_condition(condition, state, embodiment)
        if self._time is None:
            self._time = expert.embed_time(self._solver.timesteps.to(embedded.device)).unsqueeze(1)
        c = expert.combine_time(self._time, embedded)
        of_all = [m.unflatten(0, (steps, len(embedded))) for m in expert.modulations(c.flatten(0, 1))]
        return list(zip(*(m.unbind(0) for m in of_all)))


def _join(
    prefix: torch.Tensor | None, scheduled: torch.Tensor | None, like: torch.Tensor
) -> torch.Tensor | None:
    """Committed and scheduled rows (B, K, A) in one, or None. Raises UserError where they do not fit the
    chunk."""
    parts = [rows for rows in (prefix, scheduled) if rows is not None and rows.shape[1]]
    for rows in parts:
        if rows.dim() != 3 or rows.shape[0] != like.shape[0] or rows.shape[2] != like.shape[2]:
            raise UserError(
                f"known rows have shape {tuple(rows.shape)}, expected is "
                f"({like.shape[0]}, K, {like.shape[2]}): give rows of the same robot."
            )
    if sum(rows.shape[1] for rows in parts) > like.shape[1]:
        raise UserError(
            f"{sum(rows.shape[1] for rows in parts)} rows are known beforehand, "
            f"the chunk has {like.shape[1]}: give no more than that."
        )
    return torch.cat([rows.to(like) for rows in parts], dim=1) if parts else None


def _compiled(expert: ActionExpert) -> Callable[..., torch.Tensor]:
    on_cpu = next(expert.parameters()).device.type == "cpu"
    # Frozen weights are constants, which a CPU's compiler brings into the order of its products.
    return torch.compile(expert.denoise, options={"freezing": True} if on_cpu else None)
