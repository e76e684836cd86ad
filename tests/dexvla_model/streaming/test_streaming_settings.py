"""Settings are refused in one sentence that names the setting and what is allowed."""

import pytest

from dexvla_model.errors import UserError
from dexvla_model.streaming import StreamSettings
from dexvla_model.streaming.settings import RANGES


@pytest.mark.parametrize("name", sorted(RANGES))
@pytest.mark.parametrize("value", [float("nan"), -1.0, 1e6, "0.1", True, None])
def test_values_out_of_range_are_refused(name, value):
    with pytest.raises(UserError, match=rf"{name} is .*allowed is"):
        StreamSettings(**{name: value})


def test_every_default_is_allowed_at_its_bounds_too():
    for name, (low, high, _) in RANGES.items():
        assert getattr(StreamSettings(**{name: low}), name) == low
        assert getattr(StreamSettings(**{name: high}), name) == high
