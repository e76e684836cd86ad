"""Recording what the controllers command: limits are checked on what the robot was told. No ROS."""

from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from dexvla_model.errors import UserError


@dataclass
class CommandRecorder:
    """Collects the command of every controller update and writes it to an .npz file.

    The file holds `joints` (J,), `times_s` (N,), `positions_rad`, `velocities_rad_s` and
    `accelerations_rad_s2` (N, J), `episode_starts` (M,), the index of the first row after each reset, and
    `seams` (K,), the index of the first row after each trajectory that a controller took.
    """

    path: Path
    joints: tuple[str, ...]
    _times_s: list[float] = field(default_factory=list, repr=False)
    _commands: list[np.ndarray] = field(default_factory=list, repr=False)
    _episode_starts: list[int] = field(default_factory=lambda: [0], repr=False)
    _seams: list[int] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch()
        except OSError as error:
            raise UserError(
                f"record_commands {self.path}: the file cannot be written ({error.strerror}); "
                "name another one."
            ) from error

    def add(self, time_s: float, command: np.ndarray) -> None:
        """Take the command of one update: (3, J) positions, velocities, accelerations."""
        self._times_s.append(time_s)
        self._commands.append(command)

    def start_episode(self) -> None:
        """The world was reset: the next command has nothing to do with the last."""
        self._episode_starts.append(len(self._times_s))

    def add_seam(self) -> None:
        """A controller has taken a new trajectory: the next command is the first one of that."""
        self._seams.append(len(self._times_s))

    def save(self) -> None:
        """Write the file."""
        commands = np.array(self._commands).reshape(-1, 3, len(self.joints))
        # Of a path NumPy would make another one, where that does not end in .npz. Compressing half an hour of
        # random digits takes longer than a node has to end.
        with self.path.open("wb") as file:
            np.savez(
                file,
                joints=np.array(self.joints),
                times_s=np.array(self._times_s),
                positions_rad=commands[:, 0],
                velocities_rad_s=commands[:, 1],
                accelerations_rad_s2=commands[:, 2],
                episode_starts=np.array(self._episode_starts),
                seams=np.array(self._seams, dtype=np.int64),
            )


def load_recording(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a recording by name.

    Raises:
        UserError: the file cannot be read, or was not written to its end.
    """
    try:
        with np.load(path, allow_pickle=False) as recording:
            return dict(recording)
    except (OSError, EOFError, ValueError, BadZipFile) as error:
        raise UserError(
            f"record_commands {path}: the recording is not complete ({error}): the simulation was ended before "
            "it had written it; record again."
        ) from error
