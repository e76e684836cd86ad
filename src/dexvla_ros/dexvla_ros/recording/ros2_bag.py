"""The same topics through `ros2 bag record`, for those who prefer it: its command line. No ROS."""

from pathlib import Path

from dexvla_model.errors import UserError
from dexvla_model.resources import find_resource
from dexvla_model.robot import load_robot
from dexvla_ros.recording.topic_selection import USUAL_TOPICS, robot_topics


def ros2_bag_command(
    robot: str,
    out: str,
    instruction: str = "",
    operator: str = "",
    regex: str = "",
    use_sim_time: bool = False,
    qos: str = "",
    storage: str = "",
) -> list[str]:
    """The command of ROS 2 Jazzy that records what recorder_node would.

    Args:
        robot: name or path of the robot file. out: the bag's folder; empty = one named after the time.
        regex: further topics whose name contains it.
        qos, storage: files; empty = those in config/recording.

    Raises:
        UserError: there is no such robot or file, or a folder `out` is there already.
    """
    description = load_robot(robot)
    names = [topic.name for topic in robot_topics(description)] + list(USUAL_TOPICS)
    # A bag recorded in a namespace would need the names in it: this command runs outside of all.
    topics = [name if name.startswith("/") else f"/{name}" for name in names]
    command = ["ros2", "bag", "record", "--storage", "mcap"]
    command += ["--storage-config-file", _file(storage, "ros2_bag_mcap.yaml", "storage")]
    command += ["--qos-profile-overrides-path", _file(qos, "ros2_bag_qos.yaml", "qos")]
    if out:
        if Path(out).expanduser().exists():
            raise UserError(
                f"out:={out} exists already, and ros2 bag writes over nothing; name another folder."
            )
        command += ["--output", str(Path(out).expanduser())]
    if use_sim_time:
        command.append("--use-sim-time")
    if regex:
        command += ["--regex", regex]
    said = {"robot": description.name, "instruction": instruction, "operator": operator}
    command += ["--custom-data", *(f"{key}={value}" for key, value in said.items() if value)]
    return [*command, "--topics", *topics]


def _file(given: str, name: str, argument: str) -> str:
    if not given:
        return str(find_resource(f"config/recording/{name}"))
    if not Path(given).is_file():
        raise UserError(f"{argument}:={given}: there is no such file; correct the path.")
    return given
