"""Policies that LeRobot trained, behind the interface that every policy has. Needs the package `lerobot` to
run them, and imports it only then."""

from dexvla_model.baselines.lerobot.loading import load_lerobot_policy

__all__ = ["load_lerobot_policy"]
