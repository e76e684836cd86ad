"""Checkpoints: a folder with weights (safetensors), configuration, tokenizer, statistics and robot files."""

from dexvla_model.checkpoint.folder import Checkpoint, load_checkpoint, save_checkpoint
from dexvla_model.checkpoint.policy import load_policy

__all__ = ["Checkpoint", "load_checkpoint", "load_policy", "save_checkpoint"]
