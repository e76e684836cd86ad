"""What a checkpoint is, from its headers alone; of this project's and of the published layouts."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dexvla_model.checkpoint.folder import IMPORT_FILE, read_description
from dexvla_model.checkpoint.importing.dataset_statistics import STATISTICS_PICKLE, read_dataset_statistics
from dexvla_model.checkpoint.importing.layouts import Layout, detect_layout, read_json
from dexvla_model.checkpoint.importing.published_config import PublishedConfig
from dexvla_model.checkpoint.importing.published_expert import PublishedExpert
from dexvla_model.checkpoint.importing.published_names import POLICY_HEAD, is_computed, our_name, part_of
from dexvla_model.checkpoint.importing.report import Tally, heads_of
from dexvla_model.checkpoint.importing.stage1_file import EXPERT_PREFIX, Stage1File
from dexvla_model.checkpoint.tensor_files import TensorEntry, TensorFiles, TensorSource
from dexvla_model.normalization import Statistics

# Of the published ScaleDP: what depends on the robot, besides the state's columns of `combine.0.weight`.
_HEAD_KEYS = ("x_embedder.", "final_layer.linear.", "pos_embed")


def summarise(path: Path) -> dict[str, Any]:
    """A JSON-able description of the checkpoint at `path`; weights are not read.

    Returns:
        `layout`, `kind`, `files`, `bytes`, `parameters`, `dtypes` (parameters by type), `parts` (tensors,
        parameters, bytes), `heads`, `architecture`, `statistics` (by head), `provenance`, `import` (the
        report, or None).

    Raises:
        UserError: nothing that is known is there, or a file is missing or damaged.
    """
    layout, found = detect_layout(Path(path))
    describe = {
        Layout.OWN: _own,
        Layout.DEXVLA: _dexvla,
        Layout.QWEN: _qwen,
        Layout.STAGE1: _stage1,
    }[layout]
    return {"path": str(path), "layout": str(layout)} | describe(found)


def _own(folder: Path) -> dict[str, Any]:
    description, files = read_description(folder), TensorFiles(folder)
    report = folder / IMPORT_FILE
    model = description.config.to_json()
    model.pop("embodiments", None)
    return _sizes((part_of(entry.name), entry, entry.size) for entry in files.entries.values()) | {
        "kind": description.kind,
        "heads": heads_of(description),
        "architecture": model,
        "statistics": {name: _table(values) for name, values in description.statistics.items()},
        "provenance": dict(description.provenance),
        "import": read_json(report) if report.is_file() else None,
    }


def _dexvla(folder: Path) -> dict[str, Any]:
    files = TensorFiles(folder, "copy the whole folder again")
    published = PublishedConfig.read(folder)
    counted, heads, sizes = [], {}, {}
    for entry in files.entries.values():
        if not entry.name.startswith(POLICY_HEAD):
            counted.append((_part_of_published(entry.name), entry, entry.size))
    if published.head_type == "scale_dp_policy":
        expert = PublishedExpert(files, POLICY_HEAD)
        counted += _expert_parts(files, expert, POLICY_HEAD)
        heads, sizes = _published_heads(expert), {"depth": expert.depth, "width": expert.width}
    else:
        counted += [
            ("expert trunk", e, e.size) for e in files.entries.values() if e.name.startswith(POLICY_HEAD)
        ]
    path = next(
        (p for p in (folder / STATISTICS_PICKLE, folder.parent / STATISTICS_PICKLE) if p.is_file()), None
    )
    statistics = {} if path is None else {"published": _table(read_dataset_statistics(path))}
    for head in heads.values():
        head["statistics"] = path is not None
    return _sizes(counted) | {
        "kind": "dexvla",
        "heads": heads,
        "architecture": {"expert": {"kind": published.head_type, **sizes}} | _backbone(published),
        "statistics": statistics,
        "provenance": _training_state(folder),
        "import": None,
    }


def _qwen(folder: Path) -> dict[str, Any]:
    files = TensorFiles(folder, "copy the whole folder again")
    counted = ((_part_of_published(entry.name), entry, entry.size) for entry in files.entries.values())
    return _sizes(counted) | {
        "kind": "backbone",
        "heads": {},
        "architecture": _backbone(PublishedConfig.read(folder)),
        "statistics": {},
        "provenance": {},
        "import": None,
    }


def _stage1(path: Path) -> dict[str, Any]:
    source = Stage1File(path)
    expert = PublishedExpert(source, EXPERT_PREFIX)
    encoders = [
        ("stage 1's encoders", entry, entry.size)
        for entry in source.entries.values()
        if not entry.name.startswith(EXPERT_PREFIX)
    ]
    return _sizes(encoders + _expert_parts(source, expert, EXPERT_PREFIX)) | {
        "kind": "expert",
        "heads": _published_heads(expert),
        "architecture": {
            "expert": {
                "depth": expert.depth,
                "width": expert.width,
                "condition_width": expert.condition_width,
            }
        },
        "statistics": {},
        "provenance": {},
        "import": None,
    }


def _part_of_published(name: str) -> str:
    ours = our_name(name)
    return "computed" if is_computed(name) else "other" if ours is None else part_of(ours)


def _expert_parts(
    source: TensorSource, expert: PublishedExpert, prefix: str
) -> list[tuple[str, TensorEntry, int]]:
    """A published expert's tensors by part; `combine.0.weight` belongs to trunk and head, column by
    column."""
    parts = []
    for entry in source.entries.values():
        key = entry.name.removeprefix(prefix)
        if not entry.name.startswith(prefix):
            continue
        if key == "combine.0.weight" and expert.condition_width is not None:
            of_condition = entry.shape[0] * expert.condition_width
            parts.append(("expert trunk", entry, of_condition))
            parts.append(("head published", entry, entry.size - of_condition))
        else:
            part = "head published" if key.startswith(_HEAD_KEYS) else "expert trunk"
            parts.append((part, entry, entry.size))
    return parts


def _published_heads(expert: PublishedExpert) -> dict[str, dict[str, Any]]:
    head = expert.head()
    if head is None:
        return {}
    sizes = {"state": head.state_size, "action": head.action_size, "horizon": head.horizon}
    return {"published": sizes | {"cameras": {}, "robot": None, "statistics": False}}


def _backbone(published: PublishedConfig) -> dict[str, Any]:
    values = published.values
    text = values.get("text_config", values)
    keys = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
    return {"vlm": {"family": values.get("model_type")} | {key: text.get(key) for key in keys}}


def _training_state(folder: Path) -> dict[str, Any]:
    """What transformers' trainer noted beside the weights."""
    path = folder / "trainer_state.json"
    if not path.is_file():
        return {}
    state = read_json(path)
    return {key: state[key] for key in ("global_step", "epoch", "max_steps") if key in state}


def _sizes(counted: Iterable[tuple[str, TensorEntry, int]]) -> dict[str, Any]:
    parts: dict[str, Tally] = {}
    dtypes: Counter[str] = Counter()
    files = set()
    for part, entry, size in counted:
        parts.setdefault(part, Tally()).add(size, size * entry.dtype.itemsize)
        dtypes[str(entry.dtype).removeprefix("torch.")] += size
        files.add(str(entry.file))
    return {
        "files": sorted(files),
        "parameters": sum(tally.parameters for tally in parts.values()),
        "bytes": sum(tally.bytes for tally in parts.values()),
        "dtypes": dict(dtypes),
        "parts": {name: asdict(tally) for name, tally in parts.items()},
    }


def _table(statistics: Statistics) -> dict[str, Any]:
    return json.loads(json.dumps(statistics.to_json()))
