"""The parameters of a node that hosts a policy worker, and the start of that worker."""

from collections.abc import Callable
from types import SimpleNamespace

from dexvla_ros.nodes.parameters import ParameterSpec
from dexvla_ros.nodes.stack_node import StackNode
from dexvla_ros.policy_process import PolicyProcess
from dexvla_ros.policy_protocol import WorkerSetup

POLICY_PARAMETERS = (
    ParameterSpec("policy", "scripted", "The word scripted, or name or path of a checkpoint."),
    ParameterSpec(
        "seed",
        0,
        "Decides the draws of the policy; the n-th goal since the start uses seed + n.",
        0,
        2**31 - 1,
    ),
    ParameterSpec("threads", 1, "CPU threads of the inference.", 1, 256),
    ParameterSpec("device", "cpu", "Where to compute, as torch names it, such as cpu or cuda:0."),
    ParameterSpec(
        "dtype",
        "float32",
        "Type of the computation; bfloat16 is faster where the hardware has it.",
        allowed=("float32", "bfloat16"),
    ),
    ParameterSpec(
        "compile",
        False,
        "Compile the expert with torch.compile: the first chunk takes about a minute, so raise "
        "inference_timeout_s.",
    ),
    ParameterSpec(
        "load_timeout_s", 120.0, "Longest time that loading the policy may take, s (real time).", 1.0, 3600.0
    ),
    ParameterSpec(
        "inference_timeout_s",
        10.0,
        "Time after which an inference counts as hanging and its process is killed, s (real time).",
        0.1,
        600.0,
    ),
)


def start_policy(
    node: StackNode, settings: SimpleNamespace, method: str, on_death: Callable[[str], None]
) -> PolicyProcess:
    """Start the worker that the parameters ask for and wait until the policy is loaded.

    Args:
        method: what the node will ask for, `reason` or `act`.

    Raises:
        UserError: the policy does not exist or does not fit the robot.
        PolicyProcessError: the worker failed otherwise.
    """
    setup = WorkerSetup(
        settings.policy,
        settings.robot,
        method,
        settings.threads,
        settings.device,
        settings.dtype,
        settings.compile,
    )
    worker = PolicyProcess(setup, settings.inference_timeout_s, on_death, node.deliver)
    worker.start(settings.load_timeout_s, cancelled=lambda: not node.context.ok())
    return worker
