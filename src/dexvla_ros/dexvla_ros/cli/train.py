"""`dexvla train`: train a policy on demonstrations."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def train(
    config: Annotated[Path, typer.Option(help="Training file, such as config/training/pick_place_tiny.yaml.")],
    override: Annotated[
        list[str] | None,
        typer.Option("--set", help="Replace a key of the file: --set optimization.steps=1000. May be repeated."),
    ] = None,
    restart: Annotated[bool, typer.Option(help="Begin anew instead of going on with the run in the output folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON summary on standard output.")] = False,
) -> None:
    """Train DexVLA on demonstrations.

    The run's folder holds its log, its newest resumable state and, at the end, the checkpoint. A run that was
    interrupted goes on exactly where its last state was saved when the same command is given again.
    """
    from dexvla_model.training.config import load_training_config
    from dexvla_model.training.trainer import Trainer

    trainer = Trainer(load_training_config(config, override or ()), console=Console(stderr=True), restart=restart)
    summary = trainer.run()
    if as_json:
        print(json.dumps(summary))
        return
    Console().print(
        f"Checkpoint written to {summary['checkpoint']} after {summary['steps']} steps "
        f"(action loss {summary['action_loss']:.4f}, language loss {summary['language_loss']:.4f})."
    )
