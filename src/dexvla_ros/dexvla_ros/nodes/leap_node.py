"""leap_node: the LEAP hand, over Dynamixel."""

import sys

from dexvla_ros.nodes.device_node import PARAMETERS as PARAMETERS
from dexvla_ros.nodes.device_node import DeviceNode
from dexvla_ros.nodes.stack_node import run_node


class LeapNode(DeviceNode):
    """See `DeviceNode`."""

    device = "leap"


def main() -> None:
    """Run the node; the entry point of the command `leap_node`."""
    sys.exit(run_node(LeapNode))


if __name__ == "__main__":
    main()
