"""What a dataset that is being written is to be: rate, features, robot, encoding."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dexvla_model.data.lerobot.features import complete_features, features_of_robot
from dexvla_model.data.lerobot.layout import DatasetInfo, FileLimits
from dexvla_model.data.lerobot.video import VideoSettings
from dexvla_model.errors import UserError
from dexvla_model.robot.description import RobotDescription


@dataclass(frozen=True)
class DatasetSpecification:
    """Everything that a writer has to know beforehand. See `DatasetSpecification.of_robot`.

    Attributes:
        fps: frames per s.
        features: by name, without the columns that every dataset has.
        robot_type: the robot's name. robot_file: its robot file's text; empty where there is none.
    """

    fps: float
    features: Mapping[str, Mapping[str, Any]]
    robot_type: str
    robot_file: str
    video: VideoSettings = VideoSettings()
    limits: FileLimits = FileLimits()

    @classmethod
    def of_robot(
        cls,
        robot: RobotDescription,
        fps: float,
        sizes: Mapping[str, tuple[int, int]] | None = None,
        as_video: bool = True,
        extra: Mapping[str, Mapping[str, Any]] | None = None,
        video: VideoSettings = VideoSettings(),
        limits: FileLimits = FileLimits(),
    ) -> "DatasetSpecification":
        """The specification of a robot's dataset.

        Args:
            sizes: (width, height) of the images by camera role, if not what the model sees.
            as_video: MP4 files rather than PNG images inside the Parquet files.
            extra: more features of numbers by name, one value per frame.
        """
        features = features_of_robot(robot, sizes, as_video) | dict(extra or {})
        return cls(fps, features, robot.name, robot.text, video, limits)

    def info(self) -> DatasetInfo:
        """The `meta/info.json` of a dataset without episodes."""
        features = complete_features(self.features)
        has_video = any(feature["dtype"] == "video" for feature in features.values())
        info = DatasetInfo(self.fps, features, self.robot_type or None, limits=self.limits)
        return (
            info
            if has_video
            else DatasetInfo(self.fps, features, self.robot_type or None, video_path=None, limits=self.limits)
        )

    def check_continues(
        self, features: Mapping[str, Mapping[str, Any]], fps: float, robot_file: str, folder: Path
    ) -> None:
        """Refuse to go on with a dataset that is of another kind.

        Raises:
            UserError: names the first difference.
        """

        def refuse(what: str, there: object, here: object) -> UserError:
            return UserError(
                f"{folder}: the dataset there has {what} {there}, but what is to be written has {here}; "
                "name another folder."
            )

        if fps != self.fps:
            raise refuse("a rate of", f"{fps:g} Hz", f"{self.fps:g} Hz")
        complete = complete_features(self.features)
        if set(complete) != set(features):
            raise refuse("the features", ", ".join(sorted(features)), ", ".join(sorted(complete)))
        for name, feature in complete.items():
            for key in ("dtype", "shape", "names"):
                if feature.get(key) != features[name].get(key):
                    raise refuse(f"for {name} the {key}", features[name].get(key), feature.get(key))
        if robot_file != self.robot_file:
            raise refuse("another robot file in", "meta/robot.yaml", "the one given now")

    def to_json(self) -> dict[str, Any]:
        return {
            "fps": self.fps,
            "features": {name: dict(feature) for name, feature in self.features.items()},
            "robot_type": self.robot_type,
            "robot_file": self.robot_file,
            "video": self.video.to_json(),
            "limits": asdict(self.limits),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "DatasetSpecification":
        return cls(
            content["fps"],
            content["features"],
            content["robot_type"],
            content["robot_file"],
            VideoSettings(**content["video"]),
            FileLimits(**content["limits"]),
        )
