"""Bringing published checkpoints in: what they hold, what becomes of it, and the report."""

from dexvla_model.checkpoint.importing.importer import import_checkpoint
from dexvla_model.checkpoint.importing.plan import ImportRequest, weights_dtype
from dexvla_model.checkpoint.importing.report import ImportReport

__all__ = ["ImportReport", "ImportRequest", "import_checkpoint", "weights_dtype"]
