"""What the data set does not have and the demo makes up: birth dates, cards, addresses and opened mails.

Every number comes from a hash of the household and a purpose, so that a household is the same person in every run, in any
order, on any machine. Nothing here reads a clock or a global random generator. Events made from this module carry
`"synthetic": true`.
"""

from __future__ import annotations

import datetime as dt
import math
from hashlib import blake2b

SHOP_LAT, SHOP_LON = 39.1031, -84.5120
"""The data do not say where the shops are. Cincinnati, where the data set was published, lies in their time zone."""

_KM_PER_DEGREE = 111.195  # 2π · 6,371.0088 km / 360
_FARTHEST_KM = 90.0
_DAY_MS = 86_400_000
_AGE_BANDS = {"19-24": (19, 24), "25-34": (25, 34), "35-44": (35, 44), "45-54": (45, 54), "55-64": (55, 64), "65+": (65, 89)}


def chance(household_id: int, purpose: str) -> float:
    """Draw the number in [0, 1) that belongs to a household and a purpose; always the same one."""
    digest = blake2b(f"{household_id}:{purpose}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2.0**53


def birth_date(household_id: int, age_band: str, today: dt.date) -> str:
    """Make a birth date whose age on `today` lies in the band that the data give; raise `KeyError` for an unknown band."""
    youngest, oldest = _AGE_BANDS[age_band]
    age = youngest + int(chance(household_id, "age") * (oldest - youngest + 1))
    # The 28th at the latest is a date that every year has. That can move the birthday three days back, and 361 + 3 < 365:
    # the next birthday always lies ahead.
    had_birthday = today - dt.timedelta(days=int(chance(household_id, "birthday") * 362))
    return had_birthday.replace(year=had_birthday.year - age, day=min(had_birthday.day, 28)).isoformat()


def card_number(household_id: int) -> str:
    """Make the number of the household's card: 13 digits that are unique because they hold the household's id."""
    return f"29{int(chance(household_id, 'card') * 10**6):06d}{household_id:05d}"


def card_since(household_id: int, first_purchase: dt.date) -> str:
    """Make the date on which the card was issued: up to four years before the first purchase that the data hold."""
    # Squared: most cards are young, as in any programme that grows.
    days = int(chance(household_id, "card-since") ** 2 * 4 * 365)
    return (first_purchase - dt.timedelta(days=days)).isoformat()


def location(household_id: int) -> tuple[float, float]:
    """Make an address as (degrees north, degrees east): in any direction, up to 90 km away and denser near the shop."""
    km = _FARTHEST_KM * chance(household_id, "distance") ** 1.5
    bearing = 2 * math.pi * chance(household_id, "bearing")
    lat = SHOP_LAT + km * math.cos(bearing) / _KM_PER_DEGREE
    lon = SHOP_LON + km * math.sin(bearing) / (_KM_PER_DEGREE * math.cos(math.radians(SHOP_LAT)))
    # Four decimals are eleven metres, and hide the last bits in which machines' sines differ.
    return round(lat, 4), round(lon, 4)


def opened_after_ms(household_id: int, campaign_id: int) -> int | None:
    """Say how long after a mail was sent the household opened it, in milliseconds; None when it never did.

    A household opens between a tenth and nine tenths of its mails; half of the opens fall within nine hours.
    """
    diligence = 0.1 + 0.8 * chance(household_id, "diligence")
    if chance(household_id, f"opens:{campaign_id}") >= diligence:
        return None
    return 60_000 + int(3 * _DAY_MS * chance(household_id, f"open-delay:{campaign_id}") ** 3)
