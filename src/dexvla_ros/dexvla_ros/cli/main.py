"""Entry point of the command `dexvla`."""

import sys
from importlib import import_module

import typer
from rich.console import Console

from dexvla_model.errors import UserError
from dexvla_ros.cli.exit_codes import INTERRUPTED, USER_ERROR

_ABOUT = """Drive a robot with a sentence: DexVLA for ROS 2.

Start with **dexvla demo**: a simulated robot carries out an instruction, and a video of it is written.
"""
# In the order in which a newcomer meets them, with the function in `dexvla_ros.cli.FUNCTION` that each of
# them is. The modules import what is heavy inside their function: --help has to come at once.
SUBCOMMANDS = {
    "demo": "demo",
    "run": "run",
    "sim": "sim",
    "move": "move",
    "dashboard": "dashboard",
    "teleop": "teleop",
    "record": "record",
    "demonstrate": "demonstrate",
    "train": "train",
    "reproduce": "reproduce",
}
# Commands with subcommands of their own: the `app` of that module.
GROUPS = {
    "eval": "evaluate",
    "robot": "robot",
    "dataset": "dataset",
    "checkpoint": "checkpoint",
    "bench": "bench",
}

app = typer.Typer(
    name="dexvla",
    help=_ABOUT,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name, _function in SUBCOMMANDS.items():
    app.command(_name)(getattr(import_module(f"dexvla_ros.cli.{_function}"), _function))
for _name, _module in GROUPS.items():
    app.add_typer(import_module(f"dexvla_ros.cli.{_module}").app, name=_name)


def main() -> None:
    """Run the command line; a mistake of the user's is printed as one sentence."""
    try:
        code = app(standalone_mode=False)
        if code == INTERRUPTED:
            _complain("Interrupted.")
    except UserError as error:
        _complain(str(error))
        code = USER_ERROR
    except (KeyboardInterrupt, typer.Abort):
        _complain("Interrupted.")
        code = INTERRUPTED
    except Exception as error:
        # Wrong options: click's own classes know how to say it.
        if not hasattr(error, "show"):
            raise
        error.show()
        code = USER_ERROR
    sys.exit(code if isinstance(code, int) else 0)


def _complain(sentence: str) -> None:
    Console(stderr=True, soft_wrap=True, highlight=False).print(sentence, style="bold red", markup=False)


if __name__ == "__main__":
    main()
