"""dataset_stats.pkl: numbers come through whatever numpy wrote them, and nothing of the file is ever run."""

import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from dexvla_model.checkpoint.importing.dataset_statistics import read_dataset_statistics
from dexvla_model.errors import UserError

CONTENT = {
    "qpos_mean": np.array([0.5, -0.25], np.float32),
    "qpos_std": np.array([0.01, 2.0], np.float32),
    "action_min": np.array([-1.0, 0.0, 3.0], np.float32),
    "action_max": np.array([1.0, 0.5, 4.0], np.float32),
    "example_qpos": np.arange(8.0).reshape(4, 2),
}


@pytest.fixture
def write(tmp_path):
    def write(content, **options) -> Path:
        path = tmp_path / "dataset_stats.pkl"
        path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, **options))
        return path

    return write


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_is_read(write, protocol):
    statistics = read_dataset_statistics(write(CONTENT, protocol=protocol))
    assert torch.equal(statistics.state_std, torch.from_numpy(CONTENT["qpos_std"]).double())
    assert torch.equal(statistics.action_max, torch.from_numpy(CONTENT["action_max"]).double())
    assert statistics.relative_to == (-1, -1, -1)


def test_what_an_older_numpy_wrote_is_read(write):
    written = pickle.dumps(CONTENT, protocol=2)
    assert b"numpy._core.multiarray" in written
    statistics = read_dataset_statistics(
        write(written.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    )
    assert statistics.state_mean.tolist() == [0.5, -0.25]


def test_big_endian_and_column_major_arrays_keep_their_values(write):
    swapped = CONTENT | {
        "qpos_mean": CONTENT["qpos_mean"].astype(">f4"),
        "example_qpos": np.asfortranarray(CONTENT["example_qpos"]),
    }
    assert read_dataset_statistics(write(swapped)).state_mean.tolist() == [0.5, -0.25]


class Malicious:
    """A pickle of this runs a command where it is unpickled carelessly."""

    def __init__(self, call, *arguments):
        self.call = call, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("call", "word"),
    [((os.system, "touch"), "posix.system"), ((eval, "touch"), "builtins.eval"), ((exec, "touch"), "exec")],
)
def test_code_in_the_file_is_not_run(write, tmp_path, call, word):
    witness = tmp_path / "it_ran"
    commands = {
        os.system: f"touch {witness}",
        eval: f"open({str(witness)!r}, 'w')",
        exec: f"open({str(witness)!r}, 'w')",
    }
    pickled = pickle.dumps(CONTENT | {"note": Malicious(call[0], commands[call[0]])})
    with pytest.raises(UserError, match=f"refers to .*{word.split('.')[-1]}, .* nothing of the file was run"):
        read_dataset_statistics(write(pickled))
    assert not witness.exists()
    # It would have run, had it been read carelessly.
    io.BytesIO(pickled).close()
    pickle.loads(pickled)
    assert witness.exists()


def test_numpy_itself_is_not_called(write):
    loader = Malicious(np.load, "/etc/hostname")
    with pytest.raises(UserError, match="refers to numpy.*load"):
        read_dataset_statistics(write(CONTENT | {"note": loader}))
    with pytest.raises(UserError, match="cannot be read"):
        read_dataset_statistics(write(CONTENT | {"note": Malicious(np.ndarray, (10,))}))
    with pytest.raises(UserError, match="cannot be read .* an array of type 'O"):
        read_dataset_statistics(write(CONTENT | {"note": np.array([object], object)}))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"qpos_std": None}, "key 'qpos_std' is missing, the file holds .*action_min"),
        ({"qpos_std": [1.0, 2.0]}, "qpos_std is no list of numbers but a list"),
        ({"qpos_std": np.ones((2, 2))}, r"qpos_std is .* an array of shape \(2, 2\)"),
        ({"qpos_std": np.ones(3)}, "qpos_mean has 2 values, qpos_std has 3"),
        ({"action_max": np.array([1.0, np.nan, 1.0])}, "action_max holds values that are not finite"),
        ({"action_max": np.array([1.0, 0.0, 4.0])}, "action_max must be above action_min"),
    ],
)
def test_what_does_not_fit_is_named(write, change, words):
    content = {key: value for key, value in (CONTENT | change).items() if value is not None}
    with pytest.raises(UserError, match=f"dataset_stats.pkl.*{words}"):
        read_dataset_statistics(write(content))


@pytest.mark.parametrize("damage", [b"", b"garbage", pickle.dumps(CONTENT)[:-40], pickle.dumps([1, 2])])
def test_a_damaged_file_is_named(write, damage):
    with pytest.raises(UserError, match="dataset_stats.pkl (cannot be read|holds a list)"):
        read_dataset_statistics(write(damage))
