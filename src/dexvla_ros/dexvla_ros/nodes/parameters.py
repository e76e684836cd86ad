"""Parameters as data: declared with description and range, checked, and readable without ROS."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING

from dexvla_model.errors import UserError

if TYPE_CHECKING:
    from rcl_interfaces.msg import ParameterDescriptor
    from rclpy.node import Node

ParameterValue = bool | int | float | str | tuple[str, ...]
_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    tuple: "a list of texts",
}


@dataclass(frozen=True)
class ParameterSpec:
    """One parameter of a node.

    Attributes:
        default: also decides the type.
        description: one sentence with the unit.
        lower, upper: the range of a number, both included.
        allowed: the words that a text may be; empty = any.
    """

    name: str
    default: ParameterValue
    description: str
    lower: float | None = None
    upper: float | None = None
    allowed: tuple[str, ...] = ()

    def check(self, value: ParameterValue, source: str) -> ParameterValue:
        """The value in the right type.

        Args:
            source: who gave it, for the message.

        Raises:
            UserError: wrong type or out of range.
        """
        kind = type(self.default)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if kind is tuple and isinstance(value, list) and all(isinstance(entry, str) for entry in value):
            value = tuple(value)
        if type(value) is not kind:
            raise UserError(
                f"{source}: the parameter {self.name} is {value!r}, needed is {_KINDS[kind]} "
                f"({self.description}); correct it."
            )
        if self.lower is not None and self.upper is not None and not self.lower <= value <= self.upper:
            raise UserError(
                f"{source}: the parameter {self.name} is {value!r} "
                f"(allowed: {self.lower:g} to {self.upper:g}, {self.description}); correct it."
            )
        if self.allowed and value not in self.allowed:
            raise UserError(
                f"{source}: the parameter {self.name} is {value!r} "
                f"(allowed: {', '.join(self.allowed)}); correct it."
            )
        return value


# Every node reads these.
ROBOT = ParameterSpec("robot", "ur5e", "Name of a robot file in config/robots, or a path that ends in .yaml.")


def declare_parameters(node: "Node", specs: Sequence[ParameterSpec]) -> SimpleNamespace:
    """Declare every parameter and return the values as attributes (use getattr for a name with a dot).

    Raises:
        UserError: a value has the wrong type or is out of range, or the node has no such parameter.
    """
    source = node.get_name()
    # rclpy offers undeclared overrides nowhere else, and its own errors do not say what is allowed.
    given = {name: override.value for name, override in node._parameter_overrides.items()}
    known = {"use_sim_time", *(spec.name for spec in specs)}
    for name in given:
        if name not in known and not name.startswith("qos_overrides."):
            raise UserError(
                f"{source}: there is no parameter {name!r} "
                f"(allowed: {', '.join(sorted(known))}); remove or rename it."
            )
    values = SimpleNamespace()
    for spec in specs:
        value = given.get(spec.name, spec.default)
        if value is None and isinstance(spec.default, tuple):
            # An empty list in a file has no type, and comes as nothing.
            value = ()
        value = spec.check(value, source)
        declared = list(value) if isinstance(value, tuple) else value
        node.declare_parameter(spec.name, declared, _descriptor(spec), ignore_override=True)
        setattr(values, spec.name, value)
    return values


def _descriptor(spec: ParameterSpec) -> "ParameterDescriptor":
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

    descriptor = ParameterDescriptor(description=spec.description, read_only=True)
    if spec.allowed:
        descriptor.additional_constraints = f"one of {', '.join(spec.allowed)}"
    if spec.lower is not None and spec.upper is not None:
        if type(spec.default) is int:
            descriptor.integer_range = [
                IntegerRange(from_value=int(spec.lower), to_value=int(spec.upper), step=0)
            ]
        else:
            descriptor.floating_point_range = [FloatingPointRange(from_value=spec.lower, to_value=spec.upper)]
    return descriptor
