"""Names of what ships become paths; a folder of the user's comes first."""

from pathlib import Path

from dexvla_model.resources import checkpoint_folder, checkpoint_name, find_resource, list_checkpoints


def test_a_shipped_checkpoint_is_found_by_its_name():
    assert "tabletop_tiny" in list_checkpoints()
    folder = checkpoint_folder("tabletop_tiny")
    assert folder == find_resource("checkpoints/tabletop_tiny")
    assert (folder / "model.safetensors").is_file()


def test_files_beside_the_checkpoints_are_none():
    assert "defaults.yaml" not in list_checkpoints()


def test_a_folder_of_that_path_comes_before_one_that_ships(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tabletop_tiny").mkdir()
    assert checkpoint_folder("tabletop_tiny") == Path("tabletop_tiny")


def test_any_other_name_is_a_path():
    assert checkpoint_folder("outputs/run/checkpoint") == Path("outputs/run/checkpoint")


def test_a_folder_that_ships_is_told_by_its_name_and_any_other_by_its_path(tmp_path):
    assert checkpoint_name(checkpoint_folder("tabletop_tiny")) == "tabletop_tiny"
    assert checkpoint_name(tmp_path / "tabletop_tiny") == str(tmp_path / "tabletop_tiny")
