"""What an import did, for people and programs; kept beside the checkpoint as import.json."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dexvla_model.checkpoint.importing.plan import ImportPlan
from dexvla_model.checkpoint.importing.published_names import part_of
from dexvla_model.robot.description import RobotDescription


@dataclass
class Tally:
    """Tensors, parameters and bytes of one kind."""

    tensors: int = 0
    parameters: int = 0
    bytes: int = 0

    def add(self, parameters: int, size: int) -> None:
        self.tensors += 1
        self.parameters += parameters
        self.bytes += size


@dataclass(frozen=True)
class ImportReport:
    """What was loaded, renamed, initialised and left over.

    Attributes:
        source, layout, files: what was read. out: where the checkpoint stands. dtype: of its weights.
        loaded, initialised, left_over: counts; bytes as they were on disk (loaded, left over) or are now
            (initialised).
        loaded_parts, initialised_parts: the same by part of the model.
        renamed: our name by the published one; a list where one tensor became several.
        initialised_tensors: names. left_over_tensors: reason by name.
        heads: embodiment -> state, action, horizon, and whether it has a robot file and statistics.
        notes: what people should know besides.
    """

    source: str
    layout: str
    out: str
    dtype: str
    files: list[str]
    loaded: Tally
    initialised: Tally
    left_over: Tally
    loaded_parts: dict[str, Tally]
    initialised_parts: dict[str, Tally]
    renamed: dict[str, list[str]]
    initialised_tensors: list[str]
    left_over_tensors: dict[str, str]
    heads: dict[str, dict[str, Any]]
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As plain dictionaries, lists and numbers."""
        return asdict(self)


def report_of(plan: ImportPlan, source: str, out: str, dtype: str, itemsize: int) -> ImportReport:
    """The report of a plan that has been carried out; `itemsize`: bytes of a written value."""
    loaded, initialised, left_over = Tally(), Tally(), Tally()
    loaded_parts: dict[str, Tally] = {}
    initialised_parts: dict[str, Tally] = {}
    renamed: dict[str, list[str]] = {}
    for name, piece in plan.pieces.items():
        count = _count(plan.sizes[name])
        loaded.add(count, count * piece.entry.dtype.itemsize)
        loaded_parts.setdefault(part_of(name), Tally()).add(count, count * piece.entry.dtype.itemsize)
        if name != piece.name:
            renamed.setdefault(piece.name, []).append(name)
    for name in plan.fresh:
        count = _count(plan.sizes[name])
        initialised.add(count, count * itemsize)
        initialised_parts.setdefault(part_of(name), Tally()).add(count, count * itemsize)
    for entry, _ in plan.left_over:
        left_over.add(entry.size, entry.bytes)
    return ImportReport(
        source=source,
        layout=str(plan.layout),
        out=out,
        dtype=dtype,
        files=sorted({str(piece.file) for piece in plan.pieces.values()}),
        loaded=loaded,
        initialised=initialised,
        left_over=left_over,
        loaded_parts=loaded_parts,
        initialised_parts=initialised_parts,
        renamed=renamed,
        initialised_tensors=list(plan.fresh),
        left_over_tensors={entry.name: reason for entry, reason in plan.left_over},
        heads=heads_of(plan.description),
        notes=list(plan.notes),
    )


def heads_of(description: Any) -> dict[str, dict[str, Any]]:
    """The heads of a checkpoint, for people and programs."""
    return {
        name: {
            "state": embodiment.head.state_size,
            "action": embodiment.head.action_size,
            "horizon": embodiment.head.horizon,
            "cameras": {role: [size.width, size.height] for role, size in embodiment.cameras.items()},
            "robot": description.robots[name].name if name in description.robots else None,
            "statistics": name in description.statistics,
            "joints": _joints(description.robots.get(name)),
        }
        for name, embodiment in description.config.embodiments.items()
    }


def _joints(robot: RobotDescription | None) -> dict[str, list[str]]:
    if robot is None:
        return {}
    return {"state": list(robot.state_joints), "action": list(robot.action_joints)}


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def summary_of(report: Mapping[str, Any]) -> str:
    """An import.json in one line."""
    counts = ", ".join(
        f"{report[kind]['tensors']} tensors {kind.replace('_', ' ')}"
        for kind in ("loaded", "initialised", "left_over")
    )
    return f"from {report['source']} ({report['layout']}): {counts}"
