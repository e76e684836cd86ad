"""How much memory is free."""

from pathlib import Path

_MEMINFO = Path("/proc/meminfo")


def free_bytes() -> float:
    """Memory that can be had without swapping, in bytes; infinity where the system does not tell."""
    if not _MEMINFO.is_file():
        return float("inf")
    for line in _MEMINFO.read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return 1024.0 * int(line.split()[1])
    return float("inf")
