"""What `--where` says of a payload."""

from __future__ import annotations

import argparse
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from necrostack.cli.conditions import Condition, condition

PAYLOAD: dict[str, Any] = {
    "order": {"total": 120, "note": None, "paid": True},
    "customer": {"name": "Ann Lee", "since": "2026-03-01T00:00:00Z"},
    "items": [{"sku": "A1", "count": 2}, {"sku": "B7", "count": 0.5}],
    "code": "007",
    "one": 1,
}


@pytest.mark.parametrize(
    "text",
    [
        "order",
        "order.note",
        "order.note=null",
        "order.total=120",
        "order.total = 120.0",
        "order.total!=121",
        "order.total>=120",
        "order.total<1e3",
        "order.paid=true",
        "order.paid!=1",
        "items.0.count=2",
        "customer.name=Ann*",
        "customer.name=Ann Lee",
        'customer.name="Ann Lee"',
        "customer.since>2026-02",
        "items.0.sku=A1",
        "items.*.count<1",
        "*.total=120",
        "code=007",
        "customer.name!=Bob",
        "absent!=1",
    ],
)
def test_what_holds(text: str) -> None:
    assert condition(text).holds(PAYLOAD)


@pytest.mark.parametrize(
    "text",
    [
        "absent",
        "order.total.more",
        "items.2",
        "items.sku",
        "items.-1.sku=B7",
        "order.total=12*",
        "order.paid=1",
        "one=true",
        "order.total>120",
        "order.total>abc",
        "order.paid>0",
        "order.note=",
        "order.note>1",
        "customer.name=ann*",
        "customer.name!=Ann*",
        "code=7",
        "items>1",
    ],
)
def test_what_does_not(text: str) -> None:
    assert not condition(text).holds(PAYLOAD)


@pytest.mark.parametrize("text", ["", "=1", ".a=1", "a..b", "a.=1", "  ", "!=1"])
def test_what_is_no_condition_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no condition; write PATH, PATH=VALUE"):
        condition(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=30)
@given(JSON, st.text(max_size=5), st.sampled_from(["", "=", "!=", "<", "<=", ">", ">="]), st.text(max_size=5))
def test_every_payload_can_be_asked(payload: Any, path: str, relation: str, value: str) -> None:
    assert Condition([path], relation, value).holds(payload) in (True, False)
