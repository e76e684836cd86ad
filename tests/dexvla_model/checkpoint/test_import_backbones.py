"""Qwen-VL folders as transformers itself writes them, of every family, and the published sizes."""

import pytest
import torch

from dexvla_model.checkpoint import load_checkpoint
from dexvla_model.checkpoint.importing import ImportRequest, import_checkpoint
from dexvla_model.checkpoint.importing.published_config import PublishedConfig
from dexvla_model.vlm import backbone_preset, special_token_ids
from dexvla_model.vlm.families import FAMILIES


@pytest.mark.parametrize("preset", ["nano", "qwen2.5-vl-nano", "qwen3-vl-nano"])
def test_what_transformers_saves_is_imported(preset, tokenizer, tmp_path):
    config = backbone_preset(preset, special_token_ids(tokenizer))
    torch.manual_seed(3)
    qwen = FAMILIES[config.family].model(config.to_transformers())
    # Small shards, as of a model that is larger.
    qwen.save_pretrained(tmp_path / "qwen", max_shard_size="200KB")
    tokenizer.save_pretrained(tmp_path / "qwen")
    report = import_checkpoint(ImportRequest(tmp_path / "qwen", tmp_path / "ours", expert="scaledp-nano"))
    model = load_checkpoint(tmp_path / "ours").model
    assert model.config.vlm.family == config.family
    for name, tensor in qwen.state_dict().items():
        assert torch.equal(model.vlm.qwen.state_dict()[name], tensor), name
    assert len(report.files) > 1
    assert not report.left_over_tensors
    for section in ("vision", "text"):
        theirs = getattr(qwen.config, f"{section}_config").to_dict()
        ours = getattr(model.vlm.qwen.config, f"{section}_config").to_dict()
        ignored = ("_name_or_path", "dtype", "transformers_version", "architectures", "vocab_size")
        assert {k: v for k, v in ours.items() if k not in ignored} == {
            k: v for k, v in theirs.items() if k not in ignored
        }


def test_the_published_2b_has_the_sizes_of_its_preset(tokenizer, tmp_path):
    values = {
        "model_type": "qwen2_vla",
        "policy_head_type": "scale_dp_policy",
        "policy_head_size": "ScaleDP_H",
        "bos_token_id": 151643,
        "eos_token_id": 151645,
        "hidden_act": "silu",
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "max_position_embeddings": 32768,
        "num_attention_heads": 12,
        "num_hidden_layers": 28,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "sliding_window": 32768,
        "use_sliding_window": False,
        "tie_word_embeddings": True,
        "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
        "vocab_size": 151936,
        "vision_config": {
            "depth": 32,
            "embed_dim": 1280,
            "mlp_ratio": 4,
            "num_heads": 16,
            "in_chans": 3,
            "hidden_size": 1536,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "spatial_patch_size": 14,
            "temporal_patch_size": 2,
        },
    }
    published = PublishedConfig(tmp_path / "config.json", values)
    config, preset = published.backbone(151936, tokenizer, tied=True), backbone_preset("qwen2-vl-2b")
    assert (config.vision, config.text, config.family) == (preset.vision, preset.text, preset.family)
    assert published.attention_heads(32, 1280) == 16
