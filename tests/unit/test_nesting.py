"""Documents nested to any depth are refused, also where reading them once more to say why goes a few calls deeper."""

from __future__ import annotations

import pytest

from schemas.decoding import decode_event
from schemas.errors import Refusal
from services.api.documents import decoded
from services.api.errors import Refused
from services.api.question_shapes import PreviewBody

_DEPTHS = range(1, 1_300)


@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ('{"a":', "}")])
def test_an_event_is_refused_whatever_its_depth(opened: str, closed: str) -> None:
    """A record that could not be refused would end whoever applies it, again and again."""
    for depth in _DEPTHS:
        nested = opened * depth + "1" + closed * depth
        document = f'{{"event_id":"a","type":"checkout","tenant":"t","customer_id":"c","occurred_at":{nested}}}'
        with pytest.raises(Refusal):
            decode_event(document.encode())


@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize("field", ["replaces", "min_stay"])
def test_a_body_is_refused_whatever_its_depth(field: str, opened: str, closed: str) -> None:
    """With a status of the client's, not of ours."""
    for depth in _DEPTHS:
        with pytest.raises(Refused) as refused:
            decoded(PreviewBody, f'{{"rule":{{}},"{field}":{opened * depth}1{closed * depth}}}'.encode())
        assert refused.value.status in (400, 422), depth
