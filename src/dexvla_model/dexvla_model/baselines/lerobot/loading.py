"""From a folder that LeRobot wrote to a policy that drives a robot."""

from pathlib import Path

from dexvla_model.baselines.lerobot.policy import LeRobotPolicy
from dexvla_model.baselines.lerobot.policy_features import policy_folder, read_features
from dexvla_model.errors import UserError
from dexvla_model.robot.description import RobotDescription

# Without dependencies, for it asks for an older torch than it needs to run policies; torchvision is the one
# of the torch that is tested here.
INSTALL = (
    "pip install --no-deps lerobot==0.6.1 torchvision==0.28.0 && pip install draccus==0.11.6 einops gymnasium"
)


def load_lerobot_policy(
    path: Path | str, robot: RobotDescription, device: str = "cpu", dtype: str = "float32"
) -> LeRobotPolicy:
    """The policy of a folder that LeRobot wrote, for `robot`.

    Raises:
        UserError: LeRobot is not installed, the folder is not complete, the policy does not fit the robot, or
            `dtype` is not float32.
    """
    folder = policy_folder(Path(path))
    features = read_features(folder, robot)
    if dtype != "float32":
        raise UserError(f"lerobot:{path}: dtype is {dtype!r}, allowed for policies of LeRobot is float32.")
    try:
        from lerobot.configs.policies import PreTrainedConfig
        from lerobot.policies.factory import get_policy_class, make_pre_post_processors
    except ImportError as error:
        raise UserError(
            f"lerobot:{path} needs LeRobot on Python 3.12, which cannot be imported here ({error}): "
            f"install it with `{INSTALL}`."
        ) from error
    try:
        config = PreTrainedConfig.from_pretrained(folder, local_files_only=True)
        config.device = device
        policy = get_policy_class(config.type).from_pretrained(folder, config=config, local_files_only=True)
        processors = make_pre_post_processors(
            config,
            str(folder),
            preprocessor_overrides={"device_processor": {"device": device}},
        )
    except Exception as error:
        # Whatever it is, LeRobot says what of the folder it cannot use.
        raise UserError(f"{folder}: LeRobot cannot load this policy ({error}).") from error
    return LeRobotPolicy(policy, *processors, features, robot, name=folder.name)
