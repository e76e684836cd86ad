"""Every robot that ships has a page, and every page says what an integrator has to know before a first motion."""

from pathlib import Path

import pytest

from dexvla_model.resources import list_resources

PAGES = Path(__file__).resolve().parents[2] / "docs/robots"
ROBOTS = [name.removesuffix(".yaml") for name in list_resources("config/robots")]


@pytest.mark.parametrize("robot", ROBOTS)
@pytest.mark.parametrize(
    "topic", ["Wiring, network", "Vendor settings", "Safety", "Controllers", "First motion", "Streaming"]
)
def test_the_page_of_a_robot_says(robot, topic):
    assert f"\n**{topic}.** " in (PAGES / f"{robot}.md").read_text(encoding="utf-8")


def test_the_overview_lists_every_robot():
    overview = (PAGES / "README.md").read_text(encoding="utf-8")
    assert [robot for robot in ROBOTS if f"[{robot}]({robot}.md)" not in overview] == []
