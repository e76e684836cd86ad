"""Teleoperation: what a human does with keys, a gamepad or a leader arm, as action chunks. No ROS."""
