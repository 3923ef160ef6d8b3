"""Pushing again what was decided before: asked for here, done by the dispatchers."""

from __future__ import annotations

from typing import Any, Final

from fastapi import Response

from schemas.affairs import MOST_OPEN, Replay, ReplayAsked
from schemas.instants import DAY_MS, iso
from services.api.auth import new_id
from services.api.delivery_shapes import ReplayBody, ReplayPage, ReplayView
from services.api.errors import Refused, unavailable
from services.api.quotas import check_replays
from services.api.rates import MANY_RECORDS
from services.api.routes.common import AS_OF, past_instant
from services.api.routes.webhooks import existing
from services.api.web import Answer, Call, RouteSpec, answer


async def ask(call: Call) -> Response:
    """Have transitions pushed to an endpoint again."""
    endpoint = existing(call)
    body = await call.body(ReplayBody)
    from_ms, to_ms = _span(call, body)
    if not endpoint.on:
        raise Refused(409, f"the endpoint is {endpoint.status}; POST /v1/webhooks/{endpoint.id}/resume before what it missed is replayed")
    check_replays(call)
    ids = None if body.ids is None else list(dict.fromkeys(body.ids))
    replay_id, at_ms = new_id("rpl", call.desk.randomness), call.desk.now_ms()
    asked = ReplayAsked(call.tenant, endpoint.id, replay_id, at_ms, from_ms, to_ms, ids, call.catalog.offset, endpoint.on_since_ms)
    await call.desk.writer.tell(asked, call.desk.affairs)
    replay = call.desk.affairs.affairs.replay(call.tenant, endpoint.id, replay_id)
    if replay is None:
        raise Refused(409, f"an endpoint has at most {MOST_OPEN} replays under way; wait until one is done")
    return answer(_view(replay), 202)


async def list_all(call: Call) -> Response:
    """Show an endpoint's last replays."""
    endpoint = existing(call)
    if not call.desk.affairs.caught_up:
        raise unavailable("starting: it is not known yet which replays there are", 2)
    return answer(ReplayPage([_view(replay) for replay in call.desk.affairs.affairs.replays(call.tenant, endpoint.id)], None))


def _span(call: Call, body: ReplayBody) -> tuple[int, int]:
    """Return from when to when a replay looks; raises `Refused` (422) for what cannot be asked."""
    settings, now_ms = call.desk.settings, call.desk.now_ms()
    earliest_ms = now_ms - settings.api_replay_days * DAY_MS
    if body.ids is not None:
        if body.from_ is not None or body.to is not None:
            raise Refused(422, "a replay is of ids or of a span of time, not of both", pointer="/ids")
        if len(body.ids) > settings.api_replay_ids:
            raise Refused(422, f"a replay names at most {settings.api_replay_ids} transitions, not {len(body.ids)}", pointer="/ids")
        return max(0, earliest_ms), now_ms
    if body.from_ is None:
        raise Refused(422, "say with ids or with from what to replay", pointer="/from")
    from_ms = past_instant(call, body.from_, "/from")
    to_ms = now_ms if body.to is None else past_instant(call, body.to, "/to")
    if from_ms < earliest_ms:
        raise Refused(422, f"a replay looks back at most {settings.api_replay_days} days, to {iso(earliest_ms)}", pointer="/from")
    if to_ms <= from_ms:
        raise Refused(422, "to comes after from", pointer="/to")
    return from_ms, to_ms


def _view(replay: Replay) -> ReplayView:
    asked = replay.asked
    return ReplayView(
        id=asked.replay_id,
        status="done" if replay.done else "running",
        asked_at=iso(asked.at_ms),
        from_=iso(asked.from_ms),
        to=iso(asked.to_ms),
        ids=replay.named,
        queued=replay.queued,
        progress=replay.share,
        reason=next((step.reason for step in replay.steps.values() if step.reason), None),
    )


_REPLAY: Final[dict[str, Any]] = {
    "id": "rpl_9b1d2c3e4f5a6b7c8d9e",
    "status": "running",
    "asked_at": AS_OF,
    "from": "2026-11-21T08:00:00.000Z",
    "to": "2026-11-21T20:00:00.000Z",
    "ids": None,
    "queued": 0,
    "progress": 0.0,
    "reason": None,
}

ROUTES: Final = (
    RouteSpec(
        "POST", "/v1/webhooks/{id}/replay", ask, "webhooks:write", "Push to a webhook endpoint again",
        {202: Answer("It has been taken down and will be done, whatever dies.", ReplayView, _REPLAY)},
        "webhooks",
        "Each transition comes with the `webhook-id` and the bytes that it had or would have had, each customer's in order, behind what is "
        "pending. A span of time means what the endpoint is for, also from before it was made and from a time in which it was off or a segment "
        "was paused. 409 while the endpoint is off, and while many of its replays are under way.",
        body=ReplayBody, examples={
            "span": {"from": "2026-11-21T09:00:00+01:00", "to": "2026-11-21T21:00:00+01:00"},
            "ids": {"ids": ["trn_01c3a5f09b7d2e4f6a8b0c1d2e3f40"]},
        },
        errors=(400, 404, 408, 409, 413, 415, 422), cost=MANY_RECORDS,
    ),
    RouteSpec(
        "GET", "/v1/webhooks/{id}/replays", list_all, "webhooks:read", "List a webhook endpoint's replays",
        {200: Answer("The newest first, as far back as they are kept.", ReplayPage, {"replays": [_REPLAY | {
            "status": "done", "queued": 214, "progress": 1.0,
        }], "next": None})},
        "webhooks", errors=(404,),
    ),
)  # fmt: skip
