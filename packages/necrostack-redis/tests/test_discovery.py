"""Whom to ask where the server is, and whom to believe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from redis import exceptions
from redis.crc import key_slot

from necrostack_redis.address import Node
from necrostack_redis.discovery import Cluster, Sentinels
from necrostack_redis.keys import Keys

A, B, C, D = (Node(name, 7000) for name in "abcd")
SLOT = key_slot(b"shop")


class Answers:
    """What each node says. A node that is not known here is out of reach."""

    def __init__(self, answers: Mapping[Node, Any]) -> None:
        self.answers = dict(answers)
        self.asked: list[Node] = []

    def __call__(self, node: Node, *command: str) -> Any:
        self.asked.append(node)
        answer = self.answers.get(node, exceptions.ConnectionError("out of reach"))
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_the_first_sentinel_that_knows_the_master_is_believed() -> None:
    ask = Answers({B: None, C: [b"10.0.0.1", b"6380"]})

    assert Sentinels([A, B, C], "shop", ask).find() == Node("10.0.0.1", 6380)


def test_sentinels_are_not_always_asked_in_the_same_order() -> None:
    ask = Answers({node: [node.host.encode(), b"6379"] for node in (A, B, C)})

    found = {Sentinels([A, B, C], "shop", ask).find().host for _ in range(200)}

    assert found == {"a", "b", "c"}


def test_a_service_that_no_sentinel_knows_is_named() -> None:
    with pytest.raises(exceptions.ResponseError, match="none of the Sentinels knows the service 'shop'"):
        Sentinels([A, B], "shop", Answers({A: None, B: None})).find()


def test_as_long_as_a_sentinel_is_out_of_reach_the_others_may_just_not_know_yet() -> None:
    with pytest.raises(exceptions.ConnectionError):
        Sentinels([A, B], "shop", Answers({A: None})).find()


@pytest.mark.parametrize("kind", [Sentinels, Cluster])
def test_a_refusal_tells_more_than_a_silence(kind: type[Sentinels | Cluster]) -> None:
    ask = Answers({B: exceptions.AuthenticationError("wrong password")})

    for _ in range(20):
        with pytest.raises(exceptions.AuthenticationError):
            kind([A, B, C], "shop", ask).find()


def test_the_node_with_the_slot_of_the_app_is_found() -> None:
    ask = Answers({A: ranges({C: (0, SLOT - 1), D: (SLOT, 16383)})})

    assert Cluster([A, B], "shop", ask).find() == D


def test_all_keys_of_an_app_are_in_its_slot() -> None:
    keys = Keys("shop", "billing")

    assert {key_slot(name.encode()) for name in (keys.events, keys.inbox, keys.call("digest"))} == {SLOT}


def test_a_node_without_a_name_is_the_one_that_was_asked() -> None:
    assert Cluster([A], "shop", Answers({A: [[0, 16383, [None, 7005, b"id"]]]})).find() == Node("a", 7005)


def test_nodes_that_were_given_may_be_gone_once_others_are_known() -> None:
    ask = Answers({A: ranges({B: (0, 8000), C: (8001, 16383)})})
    cluster = Cluster([A], "shop", ask)
    cluster.find()

    ask.answers = {C: ranges({D: (0, 16383)})}

    assert cluster.find() == D


def test_a_cluster_without_the_slot_is_down() -> None:
    with pytest.raises(exceptions.ClusterDownError, match=str(SLOT)):
        Cluster([A], "shop", Answers({A: []})).find()


def ranges(masters: Mapping[Node, tuple[int, int]]) -> list[Any]:
    """As CLUSTER SLOTS answers, with a replica each."""
    replica = [b"replica", 7000, b"id"]
    return [[first, last, [node.host.encode(), node.port, b"id"], replica] for node, (first, last) in masters.items()]
