"""Named sizes of the backbone: the published ones, and small ones to train and test with."""

_TINY_ROPE = {"rope_type": "default", "rope_theta": 10000.0}

# Qwen2-VL-2B-Instruct, 2,208,985,600 parameters.
_QWEN2_VL_2B = {
    "vision": {"depth": 32, "embed_dim": 1280, "num_heads": 16, "mlp_ratio": 4},
    "text": {
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32768,
        "vocab_size": 151936,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0, "mrope_section": [16, 24, 24]},
    },
}

# Qwen2-VL-7B-Instruct, 8,291,375,616 parameters.
_QWEN2_VL_7B = {
    "tie_embeddings": False,
    "vision": _QWEN2_VL_2B["vision"],
    "text": {
        **_QWEN2_VL_2B["text"],
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
    },
}

# Qwen2.5-VL-3B-Instruct, 3,754,622,976 parameters.
_QWEN2_5_VL_3B = {
    "family": "qwen2_5_vl",
    "vision": {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "window_size": 112,
        "fullatt_block_indexes": [7, 15, 23, 31],
    },
    "text": {
        **_QWEN2_VL_2B["text"],
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "max_position_embeddings": 128000,
    },
}

# Qwen3-VL-2B-Instruct, 2,127,532,032 parameters.
_QWEN3_VL_2B = {
    "family": "qwen3_vl",
    "vision": {
        "depth": 24,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_heads": 16,
        "num_position_embeddings": 2304,
        "deepstack_visual_indexes": [5, 11, 17],
    },
    "text": {
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 262144,
        "vocab_size": 151936,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 5000000.0,
            "mrope_section": [24, 20, 20],
            "mrope_interleaved": True,
        },
    },
}

# Small enough to train from nothing on two CPU cores.
_TINY = {
    "patch_positions": 16,
    "vision": {"depth": 4, "embed_dim": 128, "num_heads": 4, "mlp_ratio": 3, "initializer_range": 0.05},
    "text": {
        "hidden_size": 160,
        "intermediate_size": 384,
        "initializer_range": 0.05,
        "num_hidden_layers": 4,
        "num_attention_heads": 5,
        "num_key_value_heads": 5,
        "max_position_embeddings": 2048,
        "vocab_size": 1024,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {**_TINY_ROPE, "mrope_section": [4, 6, 6]},
    },
}

# For tests: everything of the architecture, nothing of the size.
_NANO_TEXT = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "vocab_size": 512,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {**_TINY_ROPE, "mrope_section": [2, 3, 3]},
}
_NANO = {
    "patch_positions": 10,
    "vision": {"depth": 2, "embed_dim": 32, "num_heads": 2, "mlp_ratio": 2},
    "text": _NANO_TEXT,
}
_QWEN2_5_VL_NANO = {
    "family": "qwen2_5_vl",
    "vision": {
        "depth": 3,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "window_size": 56,
        "fullatt_block_indexes": [1],
    },
    "text": _NANO_TEXT,
}
_QWEN3_VL_NANO = {
    "family": "qwen3_vl",
    "vision": {
        "depth": 3,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "num_position_embeddings": 36,
        "deepstack_visual_indexes": [0, 1],
    },
    "text": {
        **_NANO_TEXT,
        "num_hidden_layers": 3,
        # Wider than hidden_size / num_attention_heads, as published.
        "head_dim": 32,
        "rope_parameters": {**_TINY_ROPE, "mrope_section": [6, 5, 5], "mrope_interleaved": True},
    },
}

BACKBONE_PRESETS: dict[str, dict] = {
    "qwen2-vl-2b": _QWEN2_VL_2B,
    "qwen2-vl-7b": _QWEN2_VL_7B,
    "qwen2.5-vl-3b": _QWEN2_5_VL_3B,
    "qwen3-vl-2b": _QWEN3_VL_2B,
    "tiny": _TINY,
    "nano": _NANO,
    "qwen2.5-vl-nano": _QWEN2_5_VL_NANO,
    "qwen3-vl-nano": _QWEN3_VL_NANO,
}
