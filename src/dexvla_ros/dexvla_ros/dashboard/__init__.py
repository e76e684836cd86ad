"""The operator's page: what it shows, and how it is served. No ROS."""
