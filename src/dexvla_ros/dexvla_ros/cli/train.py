"""`dexvla train`: train a policy on demonstrations."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

# Losses of the closing line, where the model has them.
SHOWN = ("action_loss", "language_loss", "validation_loss")


def train(
    config: Annotated[Path, typer.Option(help="Training file, such as config/training/stage1.yaml.")],
    override: Annotated[
        list[str] | None,
        typer.Option("--set", help="Replace a key: --set optimization.steps=1000. Repeat for more."),
    ] = None,
    restart: Annotated[
        bool, typer.Option(help="Begin anew instead of going on with the run in the output folder.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON summary on standard output.")] = False,
) -> None:
    """Train a policy on demonstrations: a stage of the curriculum, or a baseline.

    The run's folder holds its log, its newest resumable state and, at the end, the checkpoint. A run that was
    interrupted goes on exactly where its last state was saved when the same command is given again.
    """
    from dexvla_model.training.config import load_training_config
    from dexvla_model.training.trainer import Trainer

    settings = load_training_config(config, override or ())
    trainer = Trainer(settings, console=Console(stderr=True), restart=restart)
    summary = trainer.run()
    if as_json:
        print(json.dumps(summary))
        return
    losses = [f"{name.replace('_', ' ')} {summary[name]:.4f}" for name in SHOWN if name in summary]
    Console().print(
        f"Checkpoint written to {summary['checkpoint']} after {summary['steps']} steps ({', '.join(losses)})."
    )
