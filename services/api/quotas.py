"""How much a tenant may have: segments and what their rules cost, endpoints, keys. Each is refused with the number that there may be.

Judged where something is saved, not where definitions are folded: a lower limit takes away nothing that is there.
"""

from __future__ import annotations

from schemas.rule_cost import rule_cost
from schemas.rules import Rule
from services.api.errors import Refused
from services.api.web import Call


def check_segment(call: Call, segment_id: str, rule: Rule | None) -> None:
    """Refuse a live segment more, or a rule that costs more, than there may be; raises `Refused` (422).

    What costs no more than before is never refused.
    """
    shelf, settings = call.catalog.shelf(call.tenant), call.desk.settings
    if segment_id not in shelf.costs and len(shelf.costs) >= settings.api_segments:
        raise Refused(422, f"a tenant has at most {settings.api_segments} segments that are not archived")
    before, after = shelf.costs.get(segment_id, 0), rule_cost(rule)
    total = shelf.cost - before + after
    if after > before and total > settings.api_rules_cost:
        said = f"all rules of a tenant cost at most {settings.api_rules_cost} together, and would cost {total}, this one {after} of it"
        raise Refused(422, f"{said}; archive segments, or ask less in each", pointer="/rule")


def check_endpoints(call: Call) -> None:
    """Refuse an endpoint more than there may be; raises `Refused` (422)."""
    most = call.desk.settings.api_endpoints
    if len(call.catalog.endpoints_of(call.tenant)) >= most:
        raise Refused(422, f"a tenant has at most {most} webhook endpoints; delete one that is not needed")


def check_replays(call: Call) -> None:
    """Refuse a replay more than a tenant may have under way; raises `Refused` (409)."""
    most = call.desk.settings.api_replays
    if call.desk.affairs.affairs.open_of(call.tenant) >= most:
        raise Refused(409, f"a tenant has at most {most} replays under way; wait until one is done")


def check_keys(call: Call) -> None:
    """Refuse a key more than there may be; raises `Refused` (422). The operator's command makes keys beyond it."""
    most = call.desk.settings.api_keys
    if sum(key.tenant == call.tenant for key in call.catalog.keys.values()) >= most:
        raise Refused(422, f"a tenant has at most {most} keys; revoke one that is not needed")
