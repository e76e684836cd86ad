"""What `dexvla checkpoint info` says of each layout, without importing it."""

import pytest

from dexvla_model.checkpoint.importing.importer import import_checkpoint
from dexvla_model.checkpoint.importing.plan import ImportRequest
from dexvla_model.checkpoint.summary import summarise
from dexvla_model.errors import UserError


def test_a_published_folder_and_its_import_have_the_same_parts(dexvla_folder, tmp_path, absolute_robot):
    published = summarise(dexvla_folder.write())
    import_checkpoint(ImportRequest(dexvla_folder.path, tmp_path / "ours", absolute_robot))
    ours = summarise(tmp_path / "ours")
    counts = [
        {part.split()[0]: tally["parameters"] for part, tally in summary["parts"].items()}
        for summary in (published, ours)
    ]
    assert counts[0] == counts[1]
    assert (
        published["parameters"]
        == ours["parameters"]
        == sum(t.numel() for t in dexvla_folder.tensors.values())
    )
    assert published["bytes"] == 4 * published["parameters"]
    assert published["heads"]["published"] == {
        "state": 7,
        "action": 7,
        "horizon": 6,
        "cameras": {},
        "robot": None,
        "statistics": True,
    }
    assert published["statistics"]["published"] == ours["statistics"]["ur5e_2f85"]


def test_ours_names_kind_provenance_and_import(dexvla_folder, tmp_path, absolute_robot):
    import_checkpoint(ImportRequest(dexvla_folder.write(), tmp_path / "ours", absolute_robot))
    summary = summarise(tmp_path / "ours")
    assert (summary["layout"], summary["kind"]) == ("checkpoint of this project", "dexvla")
    assert summary["provenance"]["layout"] == "published DexVLA folder"
    assert summary["import"]["loaded"]["tensors"] == len(dexvla_folder.tensors) + 1
    assert summary["heads"]["ur5e_2f85"]["cameras"] == {"scene": [140, 112], "wrist": [84, 84]}
    assert summary["dtypes"] == {"float32": summary["parameters"]}


def test_the_shipped_checkpoint():
    from dexvla_model.resources import find_resource

    summary = summarise(find_resource("checkpoints/tabletop_tiny"))
    assert summary["parameters"] == 4_737_277
    assert summary["provenance"]["steps"] == 1500


def test_a_qwen_folder(qwen_folder):
    summary = summarise(qwen_folder.write())
    assert summary["kind"] == "backbone"
    assert summary["parts"].keys() == {"vision", "language"}
    assert summary["architecture"]["vlm"]["hidden_size"] == 64


def test_a_stage1_file(stage1_file, make_expert):
    weights = make_expert(state=5, action=3, horizon=9)
    summary = summarise(stage1_file(weights))
    assert summary["kind"] == "expert"
    assert summary["heads"]["published"]["horizon"] == 9
    assert summary["parts"]["stage 1's encoders"]["tensors"] == 2
    head = summary["parts"]["head published"]["parameters"]
    assert head == 3 * 24 + 24 + 9 * 24 + 24 * 3 + 3 + 5 * 40
    assert summary["parts"]["expert trunk"]["parameters"] == sum(t.numel() for t in weights.values()) - head


def test_a_folder_without_statistics_or_tokenizer_is_shown_all_the_same(dexvla_folder):
    dexvla_folder.statistics = None
    dexvla_folder.write()
    (dexvla_folder.path / "tokenizer.json").unlink()
    assert summarise(dexvla_folder.path)["statistics"] == {}


def test_what_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(UserError, match="no checkpoint that is known"):
        summarise(tmp_path)
