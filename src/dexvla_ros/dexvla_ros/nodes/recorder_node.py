"""recorder_node: whatever is on the robot's topics -> rosbag2 directories, one per episode."""

import sys
from pathlib import Path

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.task import Future
from std_msgs.msg import String
from std_srvs.srv import Trigger

from dexvla_model.errors import UserError
from dexvla_msgs.action import RecordEpisode
from dexvla_msgs.msg import RecorderStatus, SubStepMark
from dexvla_msgs.srv import MarkSubStep, StartEpisode
from dexvla_ros.messages.stamps import stamp_from_nanoseconds, stamp_in_nanoseconds
from dexvla_ros.messages.topic_statistics import topic_statistics_to_messages
from dexvla_ros.nodes.diagnostics import ERROR, OK, WARN
from dexvla_ros.nodes.qos import COMMAND, LATCHED
from dexvla_ros.nodes.recorder_parameters import PARAMETERS, writer_settings
from dexvla_ros.nodes.stack_node import StackNode, run_node
from dexvla_ros.recording.episode import EpisodeRequest, EpisodeSummary
from dexvla_ros.recording.episode_metadata import DISCARDED, FAILURE, SUCCESS, UNJUDGED
from dexvla_ros.recording.episode_recorder import EpisodeRecorder
from dexvla_ros.recording.rates import Rates
from dexvla_ros.recording.repair import is_being_recorded, is_cut_off, repair_bag
from dexvla_ros.recording.subscriptions import Subscriptions
from dexvla_ros.recording.topic_selection import TopicSelection

_GRAPH_PERIOD_S = 0.25
_STATUS_PERIOD_S = 0.5
_ENDINGS = {
    SUCCESS: "The operator called it a success.",
    FAILURE: "The operator called it a failure.",
    UNJUDGED: "The operator stopped it without a verdict.",
    DISCARDED: "The operator discarded it.",
}
# Below this share of what the robot file promises the operator is told.
_SLOW = 0.8


class RecorderNode(StackNode):
    """Records episodes on demand: by the action record_episode, or by services."""

    parameters = PARAMETERS

    def __init__(self) -> None:
        self._recorder: EpisodeRecorder | None = None
        self._sources: Subscriptions | None = None
        self._server: ActionServer | None = None
        self._goal: tuple[ServerGoalHandle, Future] | None = None
        super().__init__("recorder_node")

    def configure(self) -> None:
        settings = self.settings
        self._trouble = ""
        self._rates, self._rates_hz = Rates(), {}
        self._selection = TopicSelection.make(
            self.robot,
            settings.topics,
            settings.topic_pattern,
            settings.exclude_pattern,
            self.resolve_topic_name,
            self.get_name(),
        )
        out = Path(settings.out).expanduser()
        if settings.repair:
            self._repair(out)
        sim_time = self.get_parameter("use_sim_time").value
        self._recorder = EpisodeRecorder(
            out,
            self.robot,
            writer_settings(settings),
            self._now_ns,
            sim_time,
            on_stop=self._on_writer_stop,
        )
        self._publish_status = self.publish_on(RecorderStatus, "recorder/status", LATCHED)
        self._publish_mark = self.publish_on(SubStepMark, "recorder/sub_step", COMMAND)
        self._publish_instruction = self.publish_on(String, "instruction", LATCHED)
        self.serve(StartEpisode, "recorder/start", self._on_start)
        self.serve(MarkSubStep, "recorder/mark_sub_step", self._on_mark)
        self.serve(Trigger, "recorder/success", lambda request, response: self._judge(SUCCESS, response))
        self.serve(Trigger, "recorder/failure", lambda request, response: self._judge(FAILURE, response))
        self.serve(Trigger, "recorder/stop", lambda request, response: self._judge(UNJUDGED, response))
        self.serve(Trigger, "recorder/discard", lambda request, response: self._judge(DISCARDED, response))
        self.every(_GRAPH_PERIOD_S, lambda: self._sources.refresh())
        self.every(_STATUS_PERIOD_S, self._tell)
        self._server = ActionServer(
            self,
            RecordEpisode,
            "record_episode",
            self._execute,
            goal_callback=self._on_goal,
            cancel_callback=lambda goal: CancelResponse.ACCEPT,
        )

    def activate(self) -> None:
        self._sources = Subscriptions(
            self, self._selection, self._recorder.put, self._guard, self.get_logger().warning
        )
        self._sources.refresh()

    def deactivate(self) -> None:
        if self._recorder.recording:
            self._end(UNJUDGED, "The recorder was shut down.")
        self._sources.close()
        self._sources = None

    def release(self) -> None:
        if self._server is not None:
            self._server.destroy()
            self._server = None
        self._recorder = None

    def on_failure(self, reason: str) -> None:
        self._trouble = reason

    def health(self) -> tuple[bytes, str, dict[str, object]]:
        recorder = self._recorder
        counts = recorder.counts()
        values = {
            "path": recorder.path or "",
            "messages": sum(count.messages for count in counts.values()),
            "bytes": sum(count.bytes for count in counts.values()),
            "drops": sum(count.drops for count in counts.values()),
            "waiting_bytes": recorder.waiting_bytes,
            "disk_free_bytes": recorder.disk_free,
        }
        if self._trouble:
            return ERROR, self._trouble, values
        warning = self._warning()
        message = "recording" if recorder.recording else "ready"
        return (WARN, f"{message}; {warning}", values) if warning else (OK, message, values)

    # Beginning, marking, ending

    def _start(self, instruction: str, operator: str, tags: tuple[str, ...]) -> Path:
        if not self.active:
            raise UserError(f"The recorder is {self.lifecycle_label}, not active.")
        self._sources.refresh()
        missing = self._sources.missing()
        if missing and self.settings.require_topics:
            raise UserError(
                f"Nothing is recorded: nobody publishes {', '.join(missing)}; start its driver, or set "
                "require_topics to false."
            )
        topics = self._sources.topics.values()
        path = self._recorder.start(EpisodeRequest(instruction, operator, tags), topics)
        self._trouble = ""
        self._publish_instruction(String(data=self._recorder.request.instruction))
        self._sources.renew_latched()
        self.get_logger().info(f"recording {path}: {self._recorder.request.instruction}")
        self._tell()
        return path

    def _end(self, outcome: str, ending: str) -> EpisodeSummary:
        recorder = self._recorder
        summary = recorder.discard() if outcome == DISCARDED else recorder.end(outcome, ending)
        if summary.error:
            self._trouble = summary.error
            self.report_once(summary.error)
        drops = sum(count.drops for count in summary.counts.values())
        self.get_logger().info(
            f"{summary.outcome} after {summary.duration_s:.1f} s, {drops} drops: {summary.path or 'deleted'}"
        )
        if self._goal is not None:
            ended = self._goal[1]
            self._goal = None
            topics = [(topic.wanted, topic.bag_topic.type_name) for topic in self._known_topics()]
            ended.set_result((summary, topic_statistics_to_messages(topics, summary.counts, {})))
        self._tell()
        return summary

    def _on_writer_stop(self, reason: str) -> None:
        self.deliver(lambda: self._give_up(reason))

    def _give_up(self, reason: str) -> None:
        if self._recorder is None or not self._recorder.recording:
            return
        self.get_logger().error(f"the recording ends: {reason}")
        summary = self._end(UNJUDGED, f"The recording ended: {reason}.")
        self._trouble = summary.error or f"the recording ended: {reason}"
        self.publish_diagnostics()
        self._tell()

    # What clients ask for

    def _on_start(self, request: StartEpisode.Request, response: StartEpisode.Response):
        try:
            path = self._start(request.instruction, request.operator_name, tuple(request.tags))
        except UserError as error:
            response.message = str(error)
            self.get_logger().error(str(error))
            return response
        response.success, response.path = True, str(path)
        return response

    def _on_mark(self, request: MarkSubStep.Request, response: MarkSubStep.Response):
        stamp_ns = stamp_in_nanoseconds(request.stamp)
        try:
            mark = self._recorder.mark(request.text, stamp_ns)
        except UserError as error:
            response.message = str(error)
            return response
        message = SubStepMark(text=mark.text)
        message.header.stamp = stamp_from_nanoseconds(mark.time_ns)
        self._publish_mark(message)
        self._tell()
        response.success = True
        return response

    def _judge(self, outcome: str, response: Trigger.Response) -> Trigger.Response:
        try:
            summary = self._end(outcome, _ENDINGS[outcome])
        except UserError as error:
            response.message = str(error)
            return response
        response.success = not summary.error
        response.message = summary.error or str(summary.path or "deleted")
        return response

    def _on_goal(self, goal: RecordEpisode.Goal) -> GoalResponse:
        if not self.active or self._recorder.recording:
            state = "an episode is being recorded" if self.active else f"the node is {self.lifecycle_label}"
            self.get_logger().error(f"goal refused: {state}")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    async def _execute(self, goal: ServerGoalHandle) -> RecordEpisode.Result:
        request, ended = goal.request, Future()
        try:
            self._start(request.instruction, request.operator_name, tuple(request.tags))
        except UserError as error:
            self.get_logger().error(str(error))
            goal.abort()
            return RecordEpisode.Result(outcome=DISCARDED, message=str(error))
        self._goal = goal, ended
        summary, topics = await ended
        if goal.is_cancel_requested:
            goal.canceled()
        elif summary.error:
            goal.abort()
        else:
            goal.succeed()
        return RecordEpisode.Result(
            outcome=summary.outcome,
            message=summary.error or summary.ending,
            path=str(summary.path or ""),
            duration_s=summary.duration_s,
            topics=topics,
        )

    # What is told

    def _tell(self) -> None:
        recorder = self._recorder
        if recorder is None or self._sources is None:
            return
        if self._goal is not None and self._goal[0].is_cancel_requested and recorder.recording:
            self._end(UNJUDGED, "The goal was cancelled.")
            return
        topics = self._known_topics()
        received = {topic.name: topic.received for topic in topics}
        self._rates_hz = self._rates.update(self.now_s(), received)
        statistics = topic_statistics_to_messages(self._rows(), recorder.counts(), self._rates_hz)
        warning, seconds = self._trouble or self._warning(), recorder.seconds()
        last = recorder.last
        status = RecorderStatus(
            state=RecorderStatus.RECORDING if recorder.recording else RecorderStatus.IDLE,
            path=str(recorder.path or ""),
            instruction=recorder.request.instruction,
            seconds=seconds,
            sub_step=recorder.sub_step,
            last_outcome=last.outcome if last else "",
            warning=warning,
            disk_free=recorder.disk_free,
            topics=statistics,
        )
        status.header.stamp = stamp_from_nanoseconds(self._now_ns())
        self._publish_status(status)
        if self._goal is not None:
            self._goal[0].publish_feedback(
                RecordEpisode.Feedback(seconds=seconds, topics=statistics, warning=warning)
            )

    def _known_topics(self) -> list:
        return list(self._sources.topics.values()) if self._sources is not None else []

    def _rows(self) -> list:
        """Topics that are there, and required ones that are not."""
        rows = [(topic.wanted, topic.bag_topic.type_name) for topic in self._known_topics()]
        known = {wanted.name for wanted, _ in rows}
        missing = [self._selection.wanted[name] for name in self._selection.required if name not in known]
        return [(wanted, "") for wanted in missing] + rows

    def _warning(self) -> str:
        missing = self._sources.missing()
        if missing:
            return f"nobody publishes {', '.join(missing)}"
        slow = [
            f"{topic.name} ({self._rates_hz.get(topic.name, 0.0):.1f} of {topic.wanted.nominal_hz:g} Hz)"
            for topic in self._known_topics()
            if self._rates_hz.get(topic.name, 0.0) < _SLOW * topic.wanted.nominal_hz
        ]
        if slow:
            return f"slower than the robot file says: {', '.join(slow)}"
        missing = {name: count.drops for name, count in self._recorder.counts().items() if count.drops}
        lost = ", ".join(f"{count} of {name}" for name, count in missing.items())
        return f"messages were lost: {lost}" if lost else ""

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds

    def _repair(self, out: Path) -> None:
        for bag in sorted(out.glob("episode_*")) if out.is_dir() else ():
            if is_cut_off(bag) and not is_being_recorded(bag):
                try:
                    self.get_logger().warning(repair_bag(bag).sentence())
                except UserError as error:
                    self.get_logger().error(str(error))


def main() -> None:
    """Run the node; the entry point of the command `recorder_node`."""
    sys.exit(run_node(RecorderNode))


if __name__ == "__main__":
    main()
