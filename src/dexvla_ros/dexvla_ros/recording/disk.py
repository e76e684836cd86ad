"""Room on a disk."""

import shutil
from pathlib import Path


def free_bytes(folder: Path) -> int:
    """Room on the disk that holds, or would hold, a folder."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free
