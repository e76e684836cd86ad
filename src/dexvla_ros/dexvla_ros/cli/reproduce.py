"""`dexvla reproduce`: an experiment from nothing to its table."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def reproduce(
    name: Annotated[
        str, typer.Argument(help="Experiment: a name in config/experiments, or the path of such a file.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the commands and run none.")] = False,
    scale: Annotated[
        float,
        typer.Option(
            min=1e-6,
            max=1.0,
            help="Share of the episodes and steps, for a trial run in a folder of its own, such as 0.01.",
        ),
    ] = 1.0,
    out: Annotated[
        Path | None, typer.Option(help="Folder. Default: outputs/experiments/NAME.", show_default=False)
    ] = None,
) -> None:
    """Reproduce a table: write the demonstrations, train, evaluate.

    Everything is drawn by seeds. Interrupted, it goes on where it was when the same command is given again.
    """
    from dexvla_ros.cli.interrupts import end_by_keyboard_interrupt
    from dexvla_ros.experiments import load_experiment, run_experiment
    from dexvla_ros.experiments.run import command_line

    experiment = load_experiment(name, scale, out)
    if dry_run:
        for step in experiment.steps:
            if step.file:
                path, text = step.file
                print(f"cat > {path} <<'END'\n{text}END")
            print(command_line(step))
        return
    console = Console(stderr=True, highlight=False, soft_wrap=True)

    def announce(number: int, step, done: bool) -> None:
        state = "done already" if done else "running"
        console.print(
            f"[{number}/{len(experiment.steps)}] {state}: {command_line(step)}", markup=False, style="bold"
        )

    end_by_keyboard_interrupt()
    run_experiment(experiment, announce=announce)
    console.print(f"The results are in {experiment.folder}.")
