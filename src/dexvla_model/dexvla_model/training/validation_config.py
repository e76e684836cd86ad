"""What a training file holds out, to measure a model by frames that it never learns from."""

from dataclasses import dataclass

from dexvla_model.yaml_reader import MappingReader


@dataclass(frozen=True)
class ValidationConfig:
    """Held-out episodes.

    Attributes:
        share: of the episodes of every robot, at least one; drawn by the run's seed.
        every_steps: how often the losses of these are measured.
        batches: of how many batches; the same ones, with the same noise, every time.
    """

    share: float
    every_steps: int
    batches: int


def read_validation(reader: MappingReader) -> ValidationConfig | None:
    """The table `validation`; None without one, or where it says `none`."""
    if not reader.has("validation") or reader.take("validation") in (None, "none"):
        return None
    table = reader.mapping("validation")
    config = ValidationConfig(
        share=table.number("share", 1e-6, 0.5),
        every_steps=table.integer("every_steps", 1, 100_000_000),
        batches=table.integer("batches", 1, 100_000, default=4),
    )
    table.finish()
    return config
