"""What the nodes print, on the terminal: warnings and errors or everything, after the node's name."""

from collections.abc import Callable

from rich.console import Console
from rich.text import Text

_STYLES = {"[WARN]": "yellow", "[ERROR]": "red", "[FATAL]": "bold red"}


def node_printer(console: Console, verbose: bool) -> Callable[[str, str], None]:
    """A function that takes a node's name and a line of its output; see `ProcessGroup`."""

    def show(name: str, line: str) -> None:
        style = next((style for mark, style in _STYLES.items() if line.startswith(mark)), None)
        if style is None and not verbose:
            return
        if style is not None and "]: " in line:
            line = line.split("]: ", 1)[1]
        console.print(Text(f"{name:>12} ", "dim") + Text(line, style or ""), soft_wrap=True)

    return show
