"""piper_node: the AgileX Piper, over CAN."""

import sys

from dexvla_ros.nodes.device_node import PARAMETERS as PARAMETERS
from dexvla_ros.nodes.device_node import DeviceNode
from dexvla_ros.nodes.stack_node import run_node


class PiperNode(DeviceNode):
    """See `DeviceNode`."""

    device = "piper"


def main() -> None:
    """Run the node; the entry point of the command `piper_node`."""
    sys.exit(run_node(PiperNode))


if __name__ == "__main__":
    main()
