"""Quality of service by kind of topic, one profile for publisher and subscription."""

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

# Sensor data: the newest counts, a lost message is not worth waiting for.
SENSOR = QoSProfile(depth=2, reliability=ReliabilityPolicy.BEST_EFFORT)
# Commands and sub-steps: every one counts.
COMMAND = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
# State that a late subscriber needs too.
LATCHED = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
DIAGNOSTICS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
