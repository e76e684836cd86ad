"""Which demonstrator does which task, and by what a condition of the scripted policy names it."""

from dexvla_sim.demonstrators import DEMONSTRATORS
from dexvla_sim.scripted_policy import _TASKS
from dexvla_sim.tasks import TASKS


def test_every_task_has_a_demonstrator():
    assert set(DEMONSTRATORS) == set(TASKS)


def test_tasks_keep_their_places_in_conditions():
    assert _TASKS[:3] == ["pick_place", "posture", "sort_bimanual"]
