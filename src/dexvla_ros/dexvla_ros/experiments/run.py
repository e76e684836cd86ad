"""Running an experiment: step by step, each as a command of its own, and what is done is not done again."""

import hashlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence

from dexvla_model.errors import UserError
from dexvla_ros.experiments.experiment import Experiment, Step

_DONE_FOLDER = "done"


def run_command(arguments: Sequence[str]) -> int:
    """Run `dexvla` in a process of its own, so that its memory is free for the next step; the exit status.

    An interruption is passed on and waited for: a training saves its state then.
    """
    command = [sys.executable, "-m", "dexvla_ros.cli.main", *arguments]
    # Out of reach of the terminal's Ctrl-C: a second one would break off the saving.
    process = subprocess.Popen(command, start_new_session=True)
    try:
        return process.wait()
    except KeyboardInterrupt:
        os.killpg(process.pid, signal.SIGINT)
        process.wait()
        raise


def run_experiment(
    experiment: Experiment,
    run: Callable[[Sequence[str]], int] = run_command,
    announce: Callable[[int, Step, bool], None] = lambda number, step, done: None,
) -> None:
    """Run the steps that are not done, in their order.

    A step counts as done when it ended well with the same command and files, after the same steps: a change
    in the middle has everything after it run again. Steps that were interrupted go on where they were, as
    their commands do.

    Args:
        announce: called before each step with its number from 1, and whether it is done already.

    Raises:
        UserError: a step failed, or the folder cannot be written to.
    """
    digest = hashlib.sha256()
    for number, step in enumerate(experiment.steps, 1):
        digest.update("\0".join((*step.arguments, step.reads, step.file[1] if step.file else "")).encode())
        mark = experiment.folder / _DONE_FOLDER / f"{number:02d}_{step.arguments[0]}"
        done = mark.is_file() and mark.read_text() == digest.hexdigest()
        announce(number, step, done)
        if done:
            continue
        try:
            mark.parent.mkdir(parents=True, exist_ok=True)
            if step.file:
                step.file[0].write_text(step.file[1])
        except OSError as error:
            raise UserError(
                f"{experiment.folder}: cannot be written to ({error.strerror}); give another --out."
            ) from error
        status = run(step.arguments)
        if status != 0:
            raise UserError(
                f"Step {number} of {len(experiment.steps)} ended with status {status} "
                f"({command_line(step)}); remove the cause and give the same command again to go on."
            )
        mark.write_text(digest.hexdigest())


def command_line(step: Step) -> str:
    """The command as one would type it."""
    return shlex.join(("dexvla", *step.arguments))
