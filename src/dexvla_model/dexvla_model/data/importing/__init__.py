"""Datasets of others as LeRobot datasets of one of our robots."""
