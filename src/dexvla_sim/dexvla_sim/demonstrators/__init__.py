"""Scripted demonstrators by the name of their task."""

from collections.abc import Callable

from dexvla_model.robot import RobotDescription
from dexvla_sim.demonstrators.demonstrator import HORIZON, Demonstrator, Scene
from dexvla_sim.demonstrators.pick_place import PickPlaceDemonstrator
from dexvla_sim.demonstrators.posture import PostureDemonstrator
from dexvla_sim.demonstrators.pour import PourDemonstrator
from dexvla_sim.demonstrators.sort_bimanual import BimanualDemonstrator
from dexvla_sim.demonstrators.table_bussing import TableBussingDemonstrator
from dexvla_sim.tasks import TABLE_BUSSING, PickPlace, Posture, Pour, SortBimanual

# A condition of the scripted policy begins with its task's place here: new ones come last.
DEMONSTRATORS: dict[str, Callable[[RobotDescription], Demonstrator]] = {
    PickPlace.name: PickPlaceDemonstrator,
    Posture.name: PostureDemonstrator,
    SortBimanual.name: BimanualDemonstrator,
    Pour.name: PourDemonstrator,
    **dict.fromkeys(TABLE_BUSSING, TableBussingDemonstrator),
}

__all__ = ["DEMONSTRATORS", "HORIZON", "Demonstrator", "Scene"]
