"""DexVLA: the policy, its training, the datasets and the robot file. Needs neither ROS nor MuJoCo."""
