"""Bodies of the API are read exactly, and what is wrong with one is said with the place."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.documents import check_names, decoded
from services.api.errors import Refused
from services.api.shapes import SegmentCreate

REPEATED = {
    '{"id":"s","name":"a","name":"b"}': "/name",
    r'{"id":"s","name":"a","n\u0061me":"b"}': "/name",
    r'{"id":"s","name":"a","rule":{"metric":{"measure":"count","event":"visit"},"op":"gte","value":1,"v\u0061lue":2}}': "/rule/value",
    '{"id":"s","name":"a","rule":{"all":[{"profile":"age"},{"not":{"near":{"lat":1,"lat":1}}}]}}': "/rule/all/1/not/near/lat",
    '{"id":"s","name":"a","rule":[[],[{"a/b":{"~":1,"~":1}}]]}': "/rule/1/0/a~1b/~0",
}


@pytest.mark.parametrize("body", REPEATED)
def test_a_name_that_is_given_twice_is_refused_with_its_place(body: str) -> None:
    """In the body, in rules and at any depth, also where one of the two is written with an escape."""
    with pytest.raises(Refused) as caught:
        decoded(SegmentCreate, body.encode())
    assert (caught.value.status, caught.value.pointer) == (422, REPEATED[body])
    assert "is given twice" in caught.value.detail


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(st.sampled_from(["a", "b", "é", "/"]), inner), max_size=3).map(tuple),
    max_leaves=12,
)
"""JSON values, with objects as tuples of pairs."""


@given(JSON)
def test_names_are_refused_exactly_where_one_is_repeated(value: Any) -> None:
    """And the place leads through names and indices to the very object."""
    text = written(value)
    try:
        check_names(text.encode())
        assert not repeated(value)
    except Refused as refused:
        *way, name = [token.replace("~1", "/") for token in refused.pointer.split("/")[1:]]
        for token in way:
            value = value[int(token)] if isinstance(value, list) else dict(reversed(value))[token]
        assert Counter(key for key, _ in value)[name] > 1


def written(value: Any) -> str:
    """Write a value."""
    if isinstance(value, tuple):
        return "{" + ",".join(f"{json.dumps(name)}:{written(one)}" for name, one in value) + "}"
    return "[" + ",".join(map(written, value)) + "]" if isinstance(value, list) else json.dumps(value)


def repeated(value: Any) -> bool:
    """Whether an object has a name twice."""
    if isinstance(value, tuple):
        return len(dict(value)) < len(value) or any(repeated(one) for _, one in value)
    return isinstance(value, list) and any(map(repeated, value))
