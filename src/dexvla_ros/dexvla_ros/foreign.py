"""What other ROS packages bring to a graph, as data: their nodes, their launch files, their files."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from dexvla_model.errors import UserError

# Plugins whose package is not the first part of their name, with all the packages that have or had them.
_PLUGIN_PACKAGES = {
    "mock_components": ("hardware_interface",),
    "topic_based_ros2_control": ("topic_based_ros2_control", "joint_state_topic_hardware_interface"),
}


def package_prefix(package: str) -> Path | None:
    """Where an installed ROS package is; None where it is not installed."""
    from ament_index_python.packages import get_package_prefix

    try:
        return Path(get_package_prefix(package))
    except (LookupError, OSError):
        return None


@dataclass(frozen=True)
class PackageFile:
    """A file of another package: `path` below its share folder."""

    package: str
    path: str

    def find(self) -> Path:
        """Its absolute path.

        Raises:
            UserError: the package or the file is not there.
        """
        prefix = package_prefix(self.package)
        if prefix is None:
            raise UserError(missing_sentence(self.package, f"its file {self.path} is needed"))
        path = prefix / "share" / self.package / self.path
        if not path.is_file():
            raise UserError(f"{path} does not exist: this version of {self.package} has no such file.")
        return path


@dataclass(frozen=True)
class JoinedControllers:
    """A vendor's controllers file with ours behind it, whose values win.

    Joined as text: vendors' files repeat keys, which ROS reads and a YAML library loses.
    """

    vendor: PackageFile
    ours: Path

    def text(self) -> str:
        """The joined YAML."""
        return "\n".join(path.read_text(encoding="utf-8") for path in (self.vendor.find(), self.ours))


@dataclass(frozen=True)
class RobotUrdf:
    """A robot's URDF, expanded when it is needed: `arguments` are those of its xacro."""

    robot: str
    arguments: Mapping[str, "str | PackageFile"] = field(default_factory=dict)

    def text(self) -> str:
        """The URDF.

        Raises:
            UserError: a file that an argument names is not there, or xacro refuses the file.
        """
        from dexvla_model.robot import load_robot
        from dexvla_model.robot.urdf import expand_xacro

        robot = load_robot(self.robot)
        given = {name: str(_found(value)) for name, value in self.arguments.items()}
        return expand_xacro(robot.urdf_path, {**robot.urdf_arguments, **given})


Value = bool | int | float | str | Path | PackageFile | JoinedControllers | RobotUrdf


@dataclass(frozen=True)
class ForeignNode:
    """A node of another package.

    Attributes:
        name: of the node; empty = its own. label: unique in the graph, for logs.
        parameters: values by name. parameter_files: files with parameters, read before them.
        arguments: what stands on its command line. remappings: topic names to replace.
        plugins: names of the plugins that it loads; their packages have to be installed, too.
        optional: the graph works without it. ends: it ends by itself when its work is done.
    """

    package: str
    executable: str
    label: str
    name: str = ""
    namespace: str = ""
    parameters: Mapping[str, Value] = field(default_factory=dict)
    parameter_files: tuple[Path | PackageFile, ...] = ()
    arguments: tuple[str, ...] = ()
    remappings: Mapping[str, str] = field(default_factory=dict)
    plugins: tuple[str, ...] = ()
    optional: bool = False
    ends: bool = False


@dataclass(frozen=True)
class IncludedLaunch:
    """A launch file of another package, `launch/FILE`, with its arguments."""

    package: str
    file: str
    arguments: Mapping[str, Value] = field(default_factory=dict)
    optional: bool = False

    @property
    def label(self) -> str:
        return self.file.removesuffix(".launch.py")


Foreign = ForeignNode | IncludedLaunch


def missing_sentence(package: str, reason: str) -> str:
    """What to tell the user of a package that is not installed."""
    return (
        f"The ROS package {package} is not installed, but {reason}: install it (sudo apt-get install "
        f"ros-jazzy-{package.replace('_', '-')}) and source ROS, or take hardware sim, which needs none."
    )


def installed(items: Iterable[Foreign]) -> tuple[Foreign, ...]:
    """The items that can be started here: all but optional ones whose package is missing.

    Raises:
        UserError: the package of one that is not optional is missing, or that of a plugin of its.
    """
    found = []
    for item in items:
        if package_prefix(item.package) is None:
            if item.optional:
                continue
            what = item.executable if isinstance(item, ForeignNode) else item.file
            raise UserError(missing_sentence(item.package, f"its {what} has to run"))
        for plugin in item.plugins if isinstance(item, ForeignNode) else ():
            first = plugin.partition("/")[0]
            packages = _PLUGIN_PACKAGES.get(first, (first,))
            if all(package_prefix(package) is None for package in packages):
                raise UserError(missing_sentence(packages[0], f"the plugin {plugin} is named"))
        found.append(item)
    return tuple(found)


def resolved(value: Value, folder: Path, name: str) -> bool | int | float | str:
    """A value as a node takes it; what has to be a file is written to `folder` under `name`."""
    if isinstance(value, RobotUrdf):
        return value.text()
    if isinstance(value, JoinedControllers):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.yaml"
        path.write_text(value.text(), encoding="utf-8")
        return str(path.resolve())
    found = _found(value)
    return str(found) if isinstance(found, Path) else found


def command_line(item: Foreign, folder: Path) -> list[str]:
    """The program and its arguments that start a node or a launch file; its files are written to `folder`."""
    if isinstance(item, IncludedLaunch):
        values = {name: resolved(value, folder, name) for name, value in item.arguments.items()}
        return [
            "ros2",
            "launch",
            item.package,
            item.file,
            *(f"{name}:={value}" for name, value in values.items()),
        ]
    program = package_prefix(item.package) / "lib" / item.package / item.executable
    command = [str(program), *item.arguments, "--ros-args"]
    names = {"__node": item.name, "__ns": f"/{item.namespace}" if item.namespace else ""}
    for source, target in {**names, **item.remappings}.items():
        command += ["-r", f"{source}:={target}"] if target else []
    for file in item.parameter_files:
        command += ["--params-file", str(resolved(file, folder, "parameters"))]
    if item.parameters:
        values = {name: resolved(value, folder, name) for name, value in item.parameters.items()}
        command += ["--params-file", write_parameters(folder, item.label, "/**", values)]
    return command


def write_parameters(folder: Path, name: str, node: str, values: Mapping[str, object]) -> str:
    """Write a node's parameters to `folder`/NAME.params.yaml; its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.params.yaml"
    path.write_text(yaml.safe_dump({node: {"ros__parameters": dict(values)}}), encoding="utf-8")
    return str(path)


def _found(value: Value) -> Value:
    return value.find() if isinstance(value, PackageFile) else value
