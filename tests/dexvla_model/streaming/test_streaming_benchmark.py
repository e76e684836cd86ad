"""The benchmark's figures."""

import json

from dexvla_model.robot import load_robot
from dexvla_model.streaming.benchmark import benchmark_stream


def test_its_figures_are_plain_and_say_that_the_motion_is_followed():
    figures = benchmark_stream(load_robot("ur5e"), duration_s=8.0)
    assert json.loads(json.dumps(figures)) == figures
    assert figures["smooth"]["distance_mrad_max"] < 0.5
    for kind in ("smooth", "jumping"):
        assert figures[kind]["plans"] > 10
        assert figures[kind]["plan_failures"] == 0.0
        assert figures[kind]["waiting_s"] == 0.0
