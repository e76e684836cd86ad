"""What recording costs: three 640x480 cameras at 30 Hz and joint states at 500 Hz through recorder_node."""

import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic

import yaml

from dexvla_model.robot import load_robot
from dexvla_ros.bringup import NodeProcess
from dexvla_ros.own_domain import own_domain
from dexvla_ros.recording.bag_metadata import BAG_METADATA
from dexvla_ros.recording.episode_metadata import SUCCESS, read_bag_information, read_episode_metadata
from dexvla_ros.recording.recorder_client import RecorderClient
from dexvla_ros.supervisor import Supervisor

_PUBLISHERS = "publishers"
_WARM_UP_S = 3.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class RecordingReport:
    """What was measured.

    Attributes:
        messages, drops: in the bag, and missing from it.
        raw_mb_s: what came in, MB/s; file_mb_s: what went to the disk.
        cpu_share: of one core, by recorder_node with all its threads.
        publishers_cpu_share: likewise, by what stands for the robot.
        rates_hz: messages per second in the bag, by topic.
        memory_mb: largest resident memory of recorder_node.
    """

    duration_s: float
    messages: int
    drops: int
    raw_mb_s: float
    file_mb_s: float
    cpu_share: float
    publishers_cpu_share: float
    rates_hz: dict[str, float]
    memory_mb: float

    def to_json(self) -> dict:
        """A JSON-able dict, rounded."""
        values = asdict(self)
        values["rates_hz"] = {name: round(rate, 1) for name, rate in self.rates_hz.items()}
        return {key: round(value, 3) if isinstance(value, float) else value for key, value in values.items()}


def benchmark_recording(
    duration_s: float = 60.0,
    cameras: int = 3,
    size: tuple[int, int] = (640, 480),
    camera_hz: float = 30.0,
    joint_state_hz: float = 500.0,
    parameters: dict | None = None,
    folder: Path | None = None,
) -> RecordingReport:
    """Record for a while and measure.

    Args:
        size: width and height of the images, in pixels.
        parameters: of recorder_node, over its defaults.
        folder: for the episode, which is deleted afterwards; None = a temporary one.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix="bench_recording_") as temporary, own_domain():
        place = Path(temporary)
        robot_file = benchmark_robot_file(place, cameras, size, camera_hz, joint_state_hz)
        settings = {"robot": str(robot_file), "out": str(place / "episodes"), **(parameters or {})}
        with Supervisor([NodeProcess("recorder_node", settings)], place / "logs", False) as supervisor:
            supervisor.bring_up()
            command = [sys.executable, "-m", "dexvla_ros.recording.benchmark_publishers", str(robot_file)]
            supervisor.processes.start(_PUBLISHERS, [*command, str(duration_s + 3600.0)])
            recorder = RecorderClient(supervisor.client)
            recorder.wait_until_ready()
            _turn(supervisor, _WARM_UP_S)
            recorder.start("benchmark", "benchmark")
            pids = supervisor.processes.pid("recorder_node"), supervisor.processes.pid(_PUBLISHERS)
            start_s, start_cpu_s = monotonic(), [_cpu_s(pid) for pid in pids]
            _turn(supervisor, duration_s)
            real_s = monotonic() - start_s
            shares = [(_cpu_s(pid) - before) / real_s for pid, before in zip(pids, start_cpu_s)]
            memory_mb = _peak_memory_mb(pids[0])
            raw_bytes = sum(topic.bytes for topic in recorder.status.topics)
            raw_mb_s = raw_bytes / recorder.status.seconds / 1e6
            bag = Path(recorder.judge(SUCCESS))
        return _report(bag, raw_mb_s, shares, memory_mb)


def _report(bag: Path, raw_mb_s: float, shares: list[float], memory_mb: float) -> RecordingReport:
    information = read_bag_information(bag)
    duration_s = information["duration"]["nanoseconds"] / 1e9
    counts = {
        topic["topic_metadata"]["name"]: topic["message_count"]
        for topic in information["topics_with_message_count"]
    }
    file_bytes = sum(file.stat().st_size for file in bag.iterdir() if file.name != BAG_METADATA)
    return RecordingReport(
        duration_s=duration_s,
        messages=information["message_count"],
        drops=sum(read_episode_metadata(bag).drops.values()),
        raw_mb_s=raw_mb_s,
        file_mb_s=file_bytes / duration_s / 1e6,
        cpu_share=shares[0],
        publishers_cpu_share=shares[1],
        rates_hz={name: count / duration_s for name, count in counts.items() if count},
        memory_mb=memory_mb,
    )


def benchmark_robot_file(
    folder: Path, cameras: int, size: tuple[int, int], camera_hz: float, joint_state_hz: float
) -> Path:
    """The UR5e's robot file with other cameras and another rate."""
    content = yaml.safe_load(load_robot("ur5e").text)
    content["cameras"] = [
        {
            "role": f"camera_{number}",
            "topic": f"cameras/camera_{number}/image_raw",
            "frame": f"camera_{number}_optical_frame",
            "size": list(size),
            "model_size": [84, 84],
            "rate_hz": camera_hz,
        }
        for number in range(cameras)
    ]
    content["rates"]["joint_state_hz"] = joint_state_hz
    path = folder / "benchmark_robot.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def _turn(supervisor: Supervisor, duration_s: float) -> None:
    end_s = monotonic() + duration_s
    while monotonic() < end_s:
        supervisor.check()
        supervisor.client.turn()


def _cpu_s(pid: int) -> float:
    """CPU time that a process has used, user and system, all threads. Format: proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _peak_memory_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    print(json.dumps(benchmark_recording(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0).to_json()))
