import pytest

from edgeferry.log.topics import chain_topic, chain_topics, node_topic, root_topic, site_topic


def test_names_follow_from_site_chain_and_node() -> None:
    assert root_topic("edge.berlin") == "edge.berlin.root"
    assert chain_topic("edge", "alarms") == "edge.alarms"
    assert node_topic("edge", "alarms", "save") == "edge.alarms.save"
    assert site_topic("cloud", "dead-letters") == "cloud.dead-letters"


def test_a_topic_that_the_catalogue_does_not_have_is_an_error() -> None:
    with pytest.raises(KeyError, match="letters"):
        site_topic("cloud", "letters")


def test_every_topic_of_a_chain_gets_the_settings_of_chains() -> None:
    made = chain_topics(["edge.root", "edge.root.save"])
    assert [topic.name for topic in made] == ["edge.root", "edge.root.save"]
    assert len({(topic.value, topic.partitions, topic.retention_ms) for topic in made}) == 1
