"""inspire_node: the Inspire RH56 hand, over Modbus."""

import sys

from dexvla_ros.nodes.device_node import PARAMETERS as PARAMETERS
from dexvla_ros.nodes.device_node import DeviceNode
from dexvla_ros.nodes.stack_node import run_node


class InspireNode(DeviceNode):
    """See `DeviceNode`."""

    device = "inspire"


def main() -> None:
    """Run the node; the entry point of the command `inspire_node`."""
    sys.exit(run_node(InspireNode))


if __name__ == "__main__":
    main()
