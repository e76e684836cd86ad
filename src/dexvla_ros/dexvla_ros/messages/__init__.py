"""ROS messages to arrays and the project's dataclasses, and back: one module per type."""
