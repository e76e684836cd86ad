"""MuJoCo worlds built from the robot's URDF, tasks, scripted demonstrators, fast rollouts. Needs no ROS."""
