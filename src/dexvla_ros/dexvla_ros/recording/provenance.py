"""Which software recorded, and on which machine."""

import socket
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

_TIMEOUT_S = 5.0


@cache
def software_version() -> str:
    """`git describe` of the source tree where there is one, else the package's version."""
    try:
        # Installed packages may lie below a repository that has nothing to do with them.
        _git("ls-files", "--error-unmatch", Path(__file__).name)
        return _git("describe", "--always", "--dirty", "--tags", "--abbrev=40")
    except (OSError, subprocess.SubprocessError):
        pass
    try:
        return metadata.version("dexvla_ros")
    except metadata.PackageNotFoundError:
        return "unknown"


def _git(*arguments: str) -> str:
    folder = str(Path(__file__).resolve().parent)
    command = ["git", "-C", folder, *arguments]
    found = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
    return found.stdout.strip()


def host_name() -> str:
    """Name of this machine."""
    return socket.gethostname()
