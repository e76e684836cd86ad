"""A ROS domain for a graph that nobody else has to see: demos, benchmarks, tests."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from random import randrange

from dexvla_model.errors import UserError

# Domains whose ports lie below those that Linux hands out by itself.
_DOMAINS = 100
_LAST_DOMAIN = 232
_DOMAIN = "ROS_DOMAIN_ID"
_RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
# Domains that this process has had.
_used: set[int] = set()


@contextmanager
def own_domain() -> Iterator[int]:
    """A ROS domain that no other graph sees, in ROS_DOMAIN_ID; one that the user has set stands.

    Other graphs of this host have other domains. Those of other hosts may have the same one, and a robot
    there must not hear what a simulation commands: discovery ends at this host, unless the user has set
    ROS_AUTOMATIC_DISCOVERY_RANGE.

    Raises:
        UserError: what the user has set is no domain.
    """
    chosen = os.environ.get(_DOMAIN)
    if chosen:
        if not chosen.isdigit() or int(chosen) > _LAST_DOMAIN:
            raise UserError(f"{_DOMAIN} is {chosen!r} (allowed: 0 to {_LAST_DOMAIN}); correct or unset it.")
        yield int(chosen)
        return
    # ament_cmake_ros' coordinator: whoever holds the domain's port holds the domain.
    from domain_coordinator import domain_id

    first = randrange(_DOMAINS)
    candidates = [(first + number) % _DOMAINS + 1 for number in range(_DOMAINS)]
    # A graph of this process that has ended may be known for a while yet: its domain is the last choice.
    candidates.sort(key=_used.__contains__)
    reserved = domain_id(iter(candidates).__next__)
    mine = {_DOMAIN: str(reserved.__enter__())}
    if not os.environ.get(_RANGE):
        mine[_RANGE] = "LOCALHOST"
    os.environ.update(mine)
    _used.add(int(mine[_DOMAIN]))
    try:
        yield int(mine[_DOMAIN])
    finally:
        for name in mine:
            os.environ.pop(name, None)
        # Nothing of the body's may reach the coordinator, which takes an OSError for a port in use.
        reserved.__exit__(None, None, None)
