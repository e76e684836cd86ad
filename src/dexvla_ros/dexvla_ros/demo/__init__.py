"""Episodes through the ROS graph: asked for, watched, judged and filmed from outside."""
