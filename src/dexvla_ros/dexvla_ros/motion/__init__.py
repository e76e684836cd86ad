"""Planned motion from pose to pose, around obstacles and the robot itself. No ROS."""
