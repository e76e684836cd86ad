"""The nodes. Each wires topics to an object that is tested without ROS."""
