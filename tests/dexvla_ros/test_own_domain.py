"""The domain of a graph that nobody else has to see."""

import os

import pytest

from dexvla_model.errors import UserError
from dexvla_ros.own_domain import own_domain


def test_two_graphs_on_a_host_get_different_domains(monkeypatch):
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    with own_domain() as first:
        assert os.environ["ROS_DOMAIN_ID"] == str(first)
        # Another graph does not know of this variable.
        del os.environ["ROS_DOMAIN_ID"]
        with own_domain() as second:
            assert first != second
        os.environ["ROS_DOMAIN_ID"] = str(first)
    assert "ROS_DOMAIN_ID" not in os.environ


def test_a_process_has_no_domain_twice_while_there_are_others(monkeypatch):
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    monkeypatch.setattr("dexvla_ros.own_domain._used", set())
    had = []
    for _ in range(20):
        with own_domain() as domain:
            had.append(domain)
    assert len(set(had)) == len(had)


def test_a_domain_that_the_user_has_set_stands(monkeypatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", "77")
    with own_domain() as domain:
        assert domain == 77
    assert os.environ["ROS_DOMAIN_ID"] == "77"


def test_a_domain_that_does_not_exist_is_refused(monkeypatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", "home")
    with pytest.raises(UserError, match="ROS_DOMAIN_ID is 'home'"), own_domain():
        pass


def test_what_is_raised_within_a_domain_comes_out_unchanged(monkeypatch):
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    with pytest.raises(OSError, match="disk full"), own_domain():
        raise OSError("disk full")


def test_a_graph_of_its_own_is_not_seen_by_other_hosts(monkeypatch):
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    monkeypatch.delenv("ROS_AUTOMATIC_DISCOVERY_RANGE", raising=False)
    with own_domain():
        assert os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert "ROS_AUTOMATIC_DISCOVERY_RANGE" not in os.environ


def test_how_far_the_user_wants_to_be_seen_stands(monkeypatch):
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
    with own_domain():
        assert os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "SUBNET"
    assert os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "SUBNET"
