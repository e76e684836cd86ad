"""What a LeRobot policy on disk sees and commands, matched with a robot file. Needs no LeRobot.

A policy's folder is what `lerobot-train` writes as `pretrained_model` (huggingface/lerobot 0.4 to 0.6):

    config.json                  type, input_features and output_features with their shapes
    model.safetensors            weights
    policy_preprocessor.json     what is done to an observation before, and to actions after (with the
    policy_postprocessor.json    statistics for it in .safetensors files beside)
    train_config.json            the dataset's folder, among others

config.json knows sizes, but neither joints nor rates. Those are in the dataset's meta/info.json, which is
looked for in the policy's own folder, to where `meta` may be copied, and in the one that train_config.json
names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dexvla_model.data.lerobot.layout import (
    ACTION,
    IMAGE_PREFIX,
    INFO_FILE,
    ROBOT_FILE,
    STATE,
    DatasetInfo,
    read_json,
)
from dexvla_model.errors import UserError
from dexvla_model.robot.description import RobotDescription, parse_robot
from dexvla_model.robot.layout import check_same_layout
from dexvla_model.vlm.images import ImageSize

CONFIG_FILE, TRAINING_FILE = "config.json", "train_config.json"
PROCESSOR_FILES = ("policy_preprocessor.json", "policy_postprocessor.json")
WEIGHTS_FILE = "model.safetensors"
# The feature of a policy with one camera that has no name.
_ONLY_IMAGE = "observation.image"


@dataclass(frozen=True)
class PolicyFeatures:
    """How a robot's observation becomes a policy's, and its actions the robot's.

    Attributes:
        kind: of the policy, such as `act`.
        cameras: feature of the policy by camera role; sizes: of its images by role, None where any will do.
        state: for each of the policy's state entries the index of the robot's, or None where it has no state.
        action: for each of the robot's action entries the index of the policy's.
        row_s: time between two actions, in s.
    """

    kind: str
    cameras: dict[str, str]
    sizes: dict[str, ImageSize]
    state: tuple[int, ...] | None
    action: tuple[int, ...]
    row_s: float


def policy_folder(path: Path) -> Path:
    """The folder with the policy: `path`, or what `lerobot-train` has below it.

    Raises:
        UserError: there is none, or a file of it is missing.
    """
    last = path / "checkpoints" / "last" / "pretrained_model"
    folder = next((f for f in (path, path / "pretrained_model", last) if (f / CONFIG_FILE).is_file()), None)
    if folder is None:
        raise UserError(f"lerobot:{path}: there is no {CONFIG_FILE}: give the folder of a policy of LeRobot.")
    if not (folder / WEIGHTS_FILE).is_file():
        raise UserError(f"{folder / WEIGHTS_FILE} is missing: copy the whole folder of the policy.")
    for name in PROCESSOR_FILES:
        if not (folder / name).is_file():
            raise UserError(
                f"{folder / name} is missing: a policy from before LeRobot 0.4 gets it by "
                "`python -m lerobot.processor.migrate_policy_normalization --pretrained-path FOLDER`."
            )
    return folder


def read_features(folder: Path, robot: RobotDescription) -> PolicyFeatures:
    """Match a policy's features with a robot's state, cameras and actions.

    Joints are matched by name where the dataset is known, as LeRobot names them: with or without `.pos`
    behind. Otherwise numbers are taken to be in the robot file's order and units.

    Raises:
        UserError: something that the policy sees or commands is not there, or of another size.
    """
    path = folder / CONFIG_FILE
    config = read_json(path)
    if not isinstance(config, Mapping) or not isinstance(config.get("type"), str):
        raise UserError(f"{path}: key 'type' is missing: this is no policy of LeRobot.")
    inputs = _features(path, config, "input_features")
    outputs = _features(path, config, "output_features")
    cameras, sizes = _cameras(path, inputs, robot)
    unknown = sorted(set(inputs) - {STATE} - set(cameras.values()))
    if unknown:
        raise UserError(f"{path}: the policy sees {unknown[0]!r}, which no robot here measures.")
    if ACTION not in outputs:
        raise UserError(f"{path}: output_features has no {ACTION!r}: this policy commands nothing.")
    info = _dataset(folder, robot)
    named = {} if info is None else info.features
    state = None
    if STATE in inputs:
        names = _names(named.get(STATE))
        state = _matched(path, STATE, inputs[STATE], names, robot.state_joints)
    names = _names(named.get(ACTION)) or config.get("action_feature_names")
    columns = _matched(path, ACTION, outputs[ACTION], names, robot.action_joints)
    # Of each of the robot's actions the policy's, the other way round than for the state.
    action = tuple(columns.index(index) for index in range(len(columns)))
    rate_hz = robot.rates.action_hz if info is None else info.fps
    return PolicyFeatures(config["type"], cameras, sizes, state, action, 1.0 / rate_hz)


def _features(path: Path, config: Mapping[str, Any], key: str) -> dict[str, tuple[int, ...]]:
    """Shapes by feature."""
    try:
        return {
            str(name): tuple(int(size) for size in feature["shape"])
            for name, feature in (config.get(key) or {}).items()
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: {key} is not a table of features with shapes ({error!r}).") from error


def _cameras(
    path: Path, inputs: Mapping[str, tuple[int, ...]], robot: RobotDescription
) -> tuple[dict[str, str], dict[str, ImageSize]]:
    roles = [camera.role for camera in robot.cameras]
    cameras, sizes = {}, {}
    for name, shape in inputs.items():
        if name == _ONLY_IMAGE and len(roles) == 1:
            role = roles[0]
        elif name.startswith(IMAGE_PREFIX) or name == _ONLY_IMAGE:
            role = name.removeprefix(IMAGE_PREFIX)
        else:
            continue
        if role not in roles:
            raise UserError(
                f"{path}: the policy sees {name!r}, the cameras of {robot.path} are {', '.join(roles)}: give "
                f"one of them the role {role!r}."
            )
        if len(shape) != 3 or shape[0] != 3 or min(shape) < 1:
            raise UserError(f"{path}: {name} has shape {list(shape)}, needed is [3, height, width].")
        cameras[role], sizes[role] = name, ImageSize(shape[2], shape[1])
    return cameras, sizes


def _dataset(folder: Path, robot: RobotDescription) -> DatasetInfo | None:
    """What is known of the dataset that the policy was trained on; checks a robot file of ours in it."""
    places = [folder]
    if (folder / TRAINING_FILE).is_file():
        training = read_json(folder / TRAINING_FILE)
        dataset = training.get("dataset") if isinstance(training, Mapping) else None
        root = dataset.get("root") if isinstance(dataset, Mapping) else None
        if root:
            places.append(Path(root))
    place = next((place for place in places if (place / INFO_FILE).is_file()), None)
    if place is None:
        return None
    robot_file = place / ROBOT_FILE
    if robot_file.is_file():
        made_with = parse_robot(robot_file.read_text(encoding="utf-8"), robot_file)
        check_same_layout(made_with, robot, f"the dataset {place} of the policy {folder.name}")
    return DatasetInfo.from_json(read_json(place / INFO_FILE), place / INFO_FILE)


def _names(feature: Mapping[str, Any] | None) -> list[str] | None:
    """Names of a vector's entries; some datasets have them in a table of one key."""
    names = None if feature is None else feature.get("names")
    if isinstance(names, Mapping):
        names = next(iter(names.values()), None) if len(names) == 1 else None
    listed = isinstance(names, Sequence) and not isinstance(names, str)
    return [str(name) for name in names] if listed else None


def _matched(
    path: Path, key: str, shape: tuple[int, ...], names: Sequence[str] | None, joints: Sequence[str]
) -> tuple[int, ...]:
    """Which of the robot's joints each entry of a vector is; by position where there are no names."""
    if shape != (len(joints),):
        raise UserError(
            f"{path}: {key} has shape {list(shape)}, the robot file has {len(joints)} ({', '.join(joints)}): "
            "give the robot that the policy was trained with."
        )
    if names is None:
        return tuple(range(len(joints)))
    plain = [name.removesuffix(".pos") for name in names]
    if sorted(plain) != sorted(joints):
        raise UserError(
            f"{path}: {key} of the dataset is {', '.join(names)}, of the robot file {', '.join(joints)}: "
            "give the robot that the policy was trained with."
        )
    return tuple(list(joints).index(name) for name in plain)
