"""Large checkpoints: shards, their index, and how little of them is in memory at a time."""

import json
import weakref

import pytest
import torch

from dexvla_model.checkpoint import load_checkpoint
from dexvla_model.checkpoint.importing.importer import import_checkpoint
from dexvla_model.checkpoint.importing.plan import ImportRequest
from dexvla_model.checkpoint.tensor_files import TensorFiles
from dexvla_model.checkpoint.tensor_writer import TensorWriter
from dexvla_model.checkpoint.weights import load_weights, save_weights
from dexvla_model.errors import UserError

SHARD_BYTES = 60_000


@pytest.fixture
def sharded(dexvla_folder, tmp_path):
    import_checkpoint(ImportRequest(dexvla_folder.write(), tmp_path / "shards", max_shard_bytes=SHARD_BYTES))
    return tmp_path / "shards"


def test_a_sharded_checkpoint_equals_a_single_file(sharded, dexvla_folder, tmp_path):
    import_checkpoint(ImportRequest(dexvla_folder.path, tmp_path / "single"))
    assert not (sharded / "model.safetensors").exists()
    a, b = (load_checkpoint(folder).model.state_dict() for folder in (sharded, tmp_path / "single"))
    assert a.keys() == b.keys()
    assert all(torch.equal(tensor, b[name]) for name, tensor in a.items())


def test_shards_are_named_and_indexed_as_transformers_does(sharded):
    index = json.loads((sharded / "model.safetensors.index.json").read_text())
    files = sorted(path.name for path in sharded.glob("*.safetensors"))
    count = len(files)
    assert count > 3
    assert files == [f"model-{n:05}-of-{count:05}.safetensors" for n in range(1, count + 1)]
    assert set(index["weight_map"].values()) == set(files)
    entries = TensorFiles(sharded).entries
    assert index["metadata"]["total_size"] == sum(entry.bytes for entry in entries.values())
    largest = max(entry.bytes for entry in entries.values())
    for file in files:
        size = sum(entry.bytes for entry in entries.values() if entry.file.name == file)
        assert size <= max(SHARD_BYTES, largest)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_import_holds_about_one_shard_of_tensors(dexvla_folder, tmp_path, monkeypatch, dtype):
    """Every tensor that is read is followed until it is freed."""
    alive, peak, read = 0, 0, TensorFiles.read

    def follow(self, name):
        nonlocal alive, peak
        tensor = read(self, name)
        size = tensor.nbytes
        alive += size
        peak = max(peak, alive)

        def freed():
            nonlocal alive
            alive -= size

        weakref.finalize(tensor, freed)
        return tensor

    monkeypatch.setattr(TensorFiles, "read", follow)
    total = sum(tensor.nbytes for tensor in dexvla_folder.tensors.values())
    largest = max(tensor.nbytes for tensor in dexvla_folder.tensors.values())
    import_checkpoint(
        ImportRequest(dexvla_folder.write(), tmp_path / "ours", dtype=dtype, max_shard_bytes=SHARD_BYTES)
    )
    assert peak <= SHARD_BYTES + largest < total / 4
    assert alive <= largest


def test_a_missing_shard_of_a_checkpoint_is_named(sharded):
    next(sharded.glob("model-00002-of-*")).unlink()
    with pytest.raises(
        UserError, match="index.json: the shard model-00002-of-.* is missing.*restore the checkpoint"
    ):
        load_checkpoint(sharded)


def test_mapped_weights_are_aligned_and_not_copied(sharded):
    model = load_checkpoint(sharded).model
    weight = model.expert.blocks[0].mlp.fc1.weight
    assert weight.data_ptr() % 64 == 0
    with open("/proc/self/maps") as maps:
        regions = [line.split() for line in maps if str(sharded) in line]
    spans = [tuple(int(end, 16) for end in region[0].split("-")) for region in regions]
    assert any(start <= weight.data_ptr() < end for start, end in spans)
    # A private mapping: training changes the weights, not the file.
    with torch.no_grad():
        weight.zero_()
    assert load_checkpoint(sharded).model.expert.blocks[0].mlp.fc1.weight.any()


def test_nothing_is_initialised_at_random_when_weights_are_loaded(sharded, monkeypatch):
    def refuse(*args, **kwargs):
        tensor = args[0]
        assert tensor.is_meta, "a weight is drawn that will be replaced"
        return tensor

    for name in ("normal_", "uniform_"):
        monkeypatch.setattr(torch.Tensor, name, refuse)
    model = load_checkpoint(sharded).model
    assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    assert all(weight.requires_grad for weight in model.parameters())


def test_loading_in_bfloat16_never_holds_the_float32_weights(sharded, monkeypatch):
    whole = sum(entry.size for entry in TensorFiles(sharded).entries.values())
    alive, peak = set(), 0

    read = TensorFiles.read

    def follow(self, name):
        nonlocal peak
        tensor = read(self, name)
        alive.add(id(tensor))
        weakref.finalize(tensor, alive.discard, id(tensor))
        peak = max(peak, len(alive))
        return tensor

    monkeypatch.setattr(TensorFiles, "read", follow)
    model = load_checkpoint(sharded, torch.bfloat16).model
    assert peak <= 2
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    assert sum(weight.numel() for weight in model.parameters()) == whole


def test_small_tensors_of_odd_sizes_and_integers_survive(tmp_path):
    module = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.BatchNorm1d(5), torch.nn.Linear(5, 1))
    module[1].num_batches_tracked.fill_(12)
    save_weights(tmp_path, module, torch.float32)
    other = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.BatchNorm1d(5), torch.nn.Linear(5, 1))
    load_weights(tmp_path, other)
    for name, tensor in module.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name
    assert other[1].num_batches_tracked.dtype == torch.int64


def test_a_writer_that_fails_leaves_no_index(tmp_path):
    with pytest.raises(RuntimeError, match="stop"), TensorWriter(tmp_path, max_shard_bytes=8) as writer:
        writer.add("a", torch.ones(4))
        writer.add("b", torch.ones(4))
        raise RuntimeError("stop")
    assert not list(tmp_path.glob("model*"))
