"""Every field and constant of our interfaces says what it means."""

from pathlib import Path

import pytest

INTERFACES = Path(__file__).resolve().parents[2] / "src" / "dexvla_msgs"
KINDS = ("msg", "srv", "action")
DEFINITIONS = sorted(file for kind in KINDS for file in INTERFACES.glob(f"{kind}/*.{kind}"))


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda file: file.name)
def test_every_line_of_a_definition_has_a_comment_above_it(definition):
    previous = ""
    for number, line in enumerate(definition.read_text().splitlines(), start=1):
        if line and not line.startswith(("#", "---")):
            assert previous.startswith("#"), f"{definition.name}:{number} has no comment above it: {line}"
        previous = line


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda file: file.name)
def test_every_definition_is_generated(definition):
    assert f'"{definition.parent.name}/{definition.name}"' in (INTERFACES / "CMakeLists.txt").read_text()
