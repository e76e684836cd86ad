"""sim_node: the simulation where ros2_control and the camera drivers stand otherwise."""

import sys
from functools import partial
from pathlib import Path

from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMessage
from visualization_msgs.msg import MarkerArray

from dexvla_model.robot import Camera, Controller
from dexvla_msgs.msg import TaskStatus
from dexvla_msgs.srv import ResetSimulation
from dexvla_ros.command_recorder import CommandRecorder
from dexvla_ros.messages.camera_infos import camera_info_message
from dexvla_ros.messages.ground_truth import ground_truth_to_message
from dexvla_ros.messages.images import image_to_message
from dexvla_ros.messages.joint_states import joint_state_message
from dexvla_ros.messages.stamps import stamp_to_message
from dexvla_ros.messages.trajectories import trajectory_from_message
from dexvla_ros.nodes.diagnostics import OK, WARN
from dexvla_ros.nodes.parameters import ParameterSpec
from dexvla_ros.nodes.qos import COMMAND, LATCHED, SENSOR
from dexvla_ros.nodes.stack_node import StackNode, run_node
from dexvla_ros.pacing import Pacer, RealTimeFactor
from dexvla_ros.simulated_world import Rhythm, SimulatedWorld
from dexvla_sim.simulation import Simulation

PARAMETERS = (
    ParameterSpec("task", "pick_place", "Name of the task whose objects stand on the table."),
    ParameterSpec("seed", 0, "Decides everything that varies in the first world.", 0, 2**31 - 1),
    ParameterSpec(
        "real_time_factor",
        1.0,
        "Simulated seconds per real second, at most; never above real time.",
        0.01,
        1.0,
    ),
    ParameterSpec(
        "record_commands", "", "File (.npz) for the commands of every controller update; empty = none."
    ),
    ParameterSpec("viewer", False, "Show the world in a window; needs a display."),
)
# The task's success is judged this often, in simulated time; it means contacts and velocities.
_STATUS_PERIOD_S = 0.1
# Real time between looks at the clock: half a step of simulated time at joint_states' usual 100 Hz.
_POLL_S = 0.005
_VIEWER_PERIOD_S = 1.0 / 30.0
# Below this share of the wanted speed the node warns.
_SLOW = 0.95


class SimNode(StackNode):
    """Takes trajectories as a joint_trajectory_controller does; publishes joints, images and the clock."""

    parameters = PARAMETERS

    def __init__(self) -> None:
        self._world: SimulatedWorld | None = None
        self._recorder: CommandRecorder | None = None
        self._viewer = None
        super().__init__("sim_node")

    def now_s(self) -> float:
        """The node clock of the graph, which this node makes."""
        return super().now_s() if self._world is None else self._world.time_s

    def configure(self) -> None:
        settings, rates = self.settings, self.robot.rates
        simulation = Simulation(self.robot, settings.task, settings.seed)
        self._world = SimulatedWorld(simulation, self._on_refusal)
        self._seed = settings.seed
        self._step_s = 1.0 / rates.joint_state_hz
        self._pacer = Pacer(self._step_s, settings.real_time_factor)
        self._real_time_factor = RealTimeFactor()
        self._refusals = 0
        self._success: bool | None = None
        self._start_recorder()
        self._start_viewer()
        self._publish_clock = self.publish_on(Clock, "/clock", SENSOR)
        self._publish_joints = self.publish_on(JointState, "joint_states", SENSOR)
        self._publish_objects = self.publish_on(MarkerArray, "sim/objects", SENSOR)
        self._publish_status = self.publish_on(TaskStatus, "sim/task_status", LATCHED)
        self._cameras = []
        for camera in self.robot.cameras:
            image = image_to_message(simulation.render(camera.role), 0.0, camera.frame)
            publish = self.publish_on(Image, camera.topic, SENSOR)
            publish_info = self.publish_on(CameraInfo, camera.info_topic, SENSOR)
            self._cameras.append((camera, Rhythm(1.0 / camera.rate_hz), image, publish, publish_info))
        self._objects_rhythm = Rhythm(1.0 / max(camera.rate_hz for camera in self.robot.cameras))
        self._status_rhythm = Rhythm(_STATUS_PERIOD_S)
        for controller in self.robot.controllers:
            callback = partial(self._on_trajectory, controller)
            self.listen(JointTrajectoryMessage, controller.topic, callback, COMMAND)
        self.serve(ResetSimulation, "sim/reset", self._on_reset)
        self.every(_POLL_S, self._advance)

    def activate(self) -> None:
        self._pacer.restart()
        self._real_time_factor = RealTimeFactor()

    def release(self) -> None:
        if self._recorder is not None:
            self._recorder.save()
            self._recorder = None
        if self._viewer is not None:
            self._viewer.close()
            self._viewer = None
        if self._world is not None:
            self._world.simulation.close()
            self._world = None

    def health(self) -> tuple[bytes, str, dict[str, object]]:
        factor = self._real_time_factor.value
        values = {
            "simulated_time_s": self._world.time_s,
            "real_time_factor": factor,
            "refused_trajectories": self._refusals,
        }
        if 0.0 < factor < _SLOW * self.settings.real_time_factor:
            return WARN, f"simulated time runs at {factor:.0%} of real time: the machine is busy", values
        return OK, "simulating", values

    def _start_recorder(self) -> None:
        if self.settings.record_commands:
            joints = tuple(joint for controller in self.robot.controllers for joint in controller.joints)
            self._recorder = CommandRecorder(Path(self.settings.record_commands), joints)
            self._world.simulation.on_command = lambda command: self._recorder.add(
                self._world.time_s, command
            )

    def _start_viewer(self) -> None:
        if self.settings.viewer:
            from dexvla_ros.viewer import open_viewer

            self._viewer = open_viewer(self._world.simulation)
            self._viewer_rhythm = Rhythm(_VIEWER_PERIOD_S)

    def _advance(self) -> None:
        for _ in range(self._pacer.due_steps(self.real_s())):
            self._world.simulation.step(self._step_s)
            self._publish_moment()
        self._real_time_factor.update(self.real_s(), self._world.time_s)
        if self._viewer is not None and self._viewer_rhythm.is_due(self.real_s()):
            self._viewer.sync()

    def _publish_moment(self) -> None:
        time_s, simulation = self._world.time_s, self._world.simulation
        # The clock first: no receiver may see a stamp from its future.
        self._publish_clock(Clock(clock=stamp_to_message(time_s)))
        states = self._world.joint_states()
        self._publish_joints(
            joint_state_message(time_s, states.names, states.positions, states.velocities, states.efforts)
        )
        if self._objects_rhythm.is_due(time_s):
            truth = simulation.ground_truth()
            self._publish_objects(ground_truth_to_message(truth, time_s, self.robot.base_frame))
        for camera, rhythm, message, publish, publish_info in self._cameras:
            if rhythm.is_due(time_s):
                self._publish_image(camera, message, publish, publish_info, time_s)
        if self._status_rhythm.is_due(time_s):
            self._publish_status_if_changed()

    def _publish_image(self, camera: Camera, message: Image, publish, publish_info, time_s: float) -> None:
        simulation = self._world.simulation
        publish(image_to_message(simulation.render(camera.role), time_s, camera.frame, message))
        publish_info(camera_info_message(camera, simulation.camera_matrix(camera.role), time_s))

    def _publish_status_if_changed(self) -> None:
        success = self._world.simulation.success()
        if success == self._success:
            return
        self._success = success
        simulation = self._world.simulation
        message = TaskStatus(
            task=simulation.task.name, instruction=simulation.instruction, seed=self._seed, success=success
        )
        message.header.stamp = stamp_to_message(self._world.time_s)
        self._publish_status(message)

    def _on_trajectory(self, controller: Controller, message: JointTrajectoryMessage) -> None:
        acceptance = self._world.send(controller.name, trajectory_from_message(message))
        if acceptance.accepted and self._recorder is not None:
            self._recorder.add_seam()

    def _on_refusal(self, controller: str, reason: str) -> None:
        self._refusals += 1
        self.get_logger().error(f"{controller} refuses a trajectory: {reason}", throttle_duration_sec=1.0)

    def _on_reset(self, request: ResetSimulation.Request, response: ResetSimulation.Response):
        if not self.active or request.seed < 0:
            response.message = "the node is not active" if not self.active else "the seed is negative"
            return response
        self._world.reset(request.seed)
        self._seed = request.seed
        self._success = None
        if self._recorder is not None:
            self._recorder.start_episode()
        self._publish_status_if_changed()
        response.success = True
        response.instruction = self._world.simulation.instruction
        return response


def main() -> None:
    """Run the node; the entry point of the command `sim_node`."""
    sys.exit(run_node(SimNode))


if __name__ == "__main__":
    main()
