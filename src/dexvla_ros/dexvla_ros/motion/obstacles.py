"""Things around the robot that a URDF does not know: boxes, in the frame of the URDF's root."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dexvla_model.errors import UserError

_FORM = "NAME X Y Z LENGTH WIDTH HEIGHT"


@dataclass(frozen=True)
class BoxObstacle:
    """A box along the axes of the robot's root frame: `centre` (3,) and `size` (3,) in m."""

    name: str
    centre: np.ndarray
    size: np.ndarray


def parse_obstacles(texts: Sequence[str], source: str) -> tuple[BoxObstacle, ...]:
    """Boxes out of texts such as `bin 0.5 0.2 0.1 0.3 0.2 0.2`: name, centre and size in m.

    Args:
        source: who gave them, for the message.

    Raises:
        UserError: a text has another form, or a size is not above 0.
    """
    boxes = []
    for text in texts:
        name, *numbers = text.split() or [""]
        try:
            values = [float(number) for number in numbers]
        except ValueError:
            values = []
        good = len(values) == 6 and all(map(math.isfinite, values)) and min(values[3:]) > 0.0
        if not name or not good:
            raise UserError(
                f"{source}: the obstacle {text!r} cannot be read (needed: {_FORM}, in m, the centre in the "
                "frame of the URDF's root, sizes above 0); correct it."
            )
        boxes.append(BoxObstacle(name, np.array(values[:3]), np.array(values[3:])))
    return tuple(boxes)
