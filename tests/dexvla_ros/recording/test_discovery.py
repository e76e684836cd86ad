"""What a graph offers and cannot be recorded is left out, said once, and never in the way of the rest."""

from types import SimpleNamespace

import pytest

from dexvla_ros.recording.subscriptions import Subscriptions
from dexvla_ros.recording.topic_selection import TopicSelection


class Graph:
    """Stands for the part of a node that looks at the graph; nothing can be subscribed to."""

    def __init__(self, topics):
        self.topics = topics

    def get_parameter(self, name):
        return SimpleNamespace(value=False)

    def get_topic_names_and_types(self):
        return list(self.topics.items())

    def count_publishers(self, name):
        return 1

    def get_publishers_info_by_topic(self, name):
        return []


@pytest.fixture
def complaints() -> list[str]:
    return []


@pytest.fixture
def look(robot, complaints):
    """Function from topics with types to what has been complained about after two looks at them."""

    def look(topics):
        selection = TopicSelection.make(robot, (), ".*", "", lambda name: name, "test")
        subscriptions = Subscriptions(Graph(topics), selection, None, lambda call: call, complaints.append)
        subscriptions.refresh()
        subscriptions.refresh()
        return complaints

    return look


def test_a_topic_with_two_types_is_named_once(look):
    types = ["std_msgs/msg/String", "std_msgs/msg/Bool"]
    (complaint,) = look({"/mixed": types, "/fine": types[:1]})
    assert complaint.startswith("/mixed is not recorded: it is published with different types")
    assert ", ".join(types) in complaint


def test_a_type_that_is_not_installed_is_named_once(look):
    (complaint,) = look({"/odd": ["nowhere_msgs/msg/Odd"]})
    assert "/odd is not recorded" in complaint
    assert "nowhere_msgs/msg/Odd is not installed here" in complaint


def test_the_insides_of_actions_are_passed_over(look):
    assert look({"/walk/_action/feedback": ["nowhere_msgs/action/Walk_FeedbackMessage"]}) == []
