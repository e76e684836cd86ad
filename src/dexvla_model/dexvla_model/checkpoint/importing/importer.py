"""Bring a published checkpoint into this project's format.

First everything is worked out from headers (`import_plan`), so that what does not fit is said before anything
is written. Then tensors go through one by one, in the order of their files: what is in memory is a shard
being written, and a fresh expert where there is one. The folder appears when it is complete.
"""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch

from dexvla_model.checkpoint.folder import CONFIG_FILE, IMPORT_FILE, write_description
from dexvla_model.checkpoint.importing.fresh_tensors import fresh_tensors
from dexvla_model.checkpoint.importing.layouts import Layout, detect_layout
from dexvla_model.checkpoint.importing.plan import ImportPlan, ImportRequest
from dexvla_model.checkpoint.importing.plan_dexvla import plan_dexvla
from dexvla_model.checkpoint.importing.plan_own import plan_own
from dexvla_model.checkpoint.importing.plan_qwen import plan_qwen
from dexvla_model.checkpoint.importing.plan_stage1 import plan_stage1
from dexvla_model.checkpoint.importing.report import ImportReport, report_of
from dexvla_model.checkpoint.new_folder import new_folder
from dexvla_model.checkpoint.tensor_writer import MAX_SHARD_BYTES, TensorWriter
from dexvla_model.errors import UserError

# Called with the bytes done, the bytes in all, and what is being done.
Progress = Callable[[int, int, str], None]


def import_checkpoint(
    request: ImportRequest, progress: Progress = lambda done, total, what: None
) -> ImportReport:
    """Write the checkpoint that `request` describes, and its report beside it.

    Raises:
        UserError: naming file and tensor or key, found and expected: an unknown layout, a missing, cut or
            damaged file, widths that do not fit, a value that is not finite, statistics that are none, a full
            disk.
    """
    _check_out(request)
    plan = make_plan(request)
    dtype = request.dtype or _usual_dtype(plan)
    total = sum(torch.Size(shape).numel() for shape in plan.sizes.values()) * dtype.itemsize
    _check_space(request.out, total)
    with new_folder(request.out, CONFIG_FILE) as temporary:
        report = report_of(
            plan, str(request.path), str(request.out), str(dtype).removeprefix("torch."), dtype.itemsize
        )
        plan.description.provenance.update(
            {"imported_from": str(request.path), "layout": str(plan.layout), "import_seed": request.seed}
        )
        write_description(temporary, plan.description)
        _write_weights(temporary, plan, request, dtype, total, progress)
        (temporary / IMPORT_FILE).write_text(json.dumps(report.to_json(), indent=2) + "\n", encoding="utf-8")
    return report


def make_plan(request: ImportRequest) -> ImportPlan:
    """What an import would do. Raises UserError as `import_checkpoint` does, but for damaged values."""
    layout, path = detect_layout(request.path)
    if request.only_head is not None and layout is not Layout.OWN:
        raise UserError(f"--only-head {request.only_head}: {path} is a {layout} with one head: leave it out.")
    if layout is Layout.STAGE1 and request.backbone is not None:
        return _plan_joined(request.backbone, path, request)
    for option, value in (("--qwen", request.backbone), ("--stage1", request.stage1)):
        if value is not None and layout is not Layout.QWEN:
            raise UserError(f"{option} {value}: {path} is a {layout}, which has no use for it: leave it out.")
    if request.backbone is not None:
        raise UserError(f"--qwen {request.backbone}: {path} is a {layout} itself: leave it out.")
    if request.stage1 is not None:
        return _plan_joined(path, request.stage1, request)
    plans = {
        Layout.DEXVLA: plan_dexvla,
        Layout.QWEN: plan_qwen,
        Layout.STAGE1: plan_stage1,
        Layout.OWN: plan_own,
    }
    return plans[layout](path, request)


def _plan_joined(backbone: Path, stage1: Path, request: ImportRequest) -> ImportPlan:
    layout, folder = detect_layout(backbone)
    if layout is not Layout.QWEN:
        raise UserError(f"--qwen {backbone} is a {layout}, needed is a {Layout.QWEN}.")
    return plan_qwen(folder, request, stage1)


def _usual_dtype(plan: ImportPlan) -> torch.dtype:
    """bfloat16 where most of the published values are, float32 for everything else."""
    counts: Counter[torch.dtype] = Counter()
    for piece in plan.pieces.values():
        counts[piece.entry.dtype] += piece.entry.size
    return torch.bfloat16 if counts and counts.most_common(1)[0][0] is torch.bfloat16 else torch.float32


def _check_out(request: ImportRequest) -> None:
    """Refuse to lose a checkpoint that the user did not mean."""
    if request.out.resolve() == request.path.resolve():
        raise UserError(f"{request.out} is what is imported: choose another folder with --out.")
    if (request.out / CONFIG_FILE).is_file() and not request.overwrite:
        raise UserError(
            f"{request.out} holds a checkpoint: choose another folder with --out, or replace it with "
            "--overwrite."
        )


def _check_space(out: Path, total: int) -> None:
    """Refuse to begin what cannot end."""
    existing = next(
        (folder for folder in (out.parent, *out.absolute().parents) if folder.is_dir()), Path("/")
    )
    free = shutil.disk_usage(existing).free
    if total > free:
        raise UserError(
            f"{out} needs {total / 1e9:.2f} GB, {existing} has {free / 1e9:.2f} GB free: free space on the "
            "disk or choose "
            "another folder."
        )


def _write_weights(
    folder: Path, plan: ImportPlan, request: ImportRequest, dtype: torch.dtype, total: int, progress: Progress
) -> None:
    done, shards = 0, 0
    sources = {id(piece.source): piece.source for piece in plan.pieces.values()}
    with TensorWriter(folder, dtype, request.max_shard_bytes or MAX_SHARD_BYTES) as writer:
        for name, piece in plan.pieces.items():
            writer.add(name, piece.read())
            if writer.shards > shards:
                # The pages of what has been written need not stay mapped.
                shards = writer.shards
                for source in sources.values():
                    source.release()
            done += torch.Size(plan.sizes[name]).numel() * dtype.itemsize
            progress(done, total, f"reading {piece.file.name}")
        if plan.fresh:
            progress(done, total, "initialising what is new")
        for name, tensor in fresh_tensors(plan.description.config, plan.fresh, request.seed):
            writer.add(name, tensor)
            done += tensor.numel() * dtype.itemsize
            progress(done, total, "initialising what is new")
    progress(total, total, "done")
