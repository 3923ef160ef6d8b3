"""Amounts and instants are exact: what is written can be read, what is read is never rounded, and nothing passes a float."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.amounts import Scale, currency_exponent, decimal_text, parse_scaled, short_text
from schemas.errors import Refusal
from schemas.instants import Duration, from_ms, iso, parse_date, parse_duration, parse_instant, to_ms

EXPONENTS = st.sampled_from([0, 2, 3, 6])
INSTANTS_MS = st.integers(0, 4_102_444_800_000)
SECONDS = st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1)).map(lambda d: d.replace(microsecond=0))  # noqa: DTZ001 - an offset is added
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.integers(-(10**17) + 1, 10**17 - 1), EXPONENTS)
def test_reading_what_was_written_gives_the_same_amount(scaled: int, exponent: int) -> None:
    """Parse ∘ print is the identity, as a JSON string and as a JSON number, within the digits that an amount may have."""
    scaled %= 10 ** (15 + exponent)
    text = decimal_text(scaled, exponent)
    assert parse_scaled(text.encode(), exponent) == scaled
    assert parse_scaled(b'"%s"' % text.encode(), exponent) == scaled


@given(st.integers(), EXPONENTS)
def test_an_amount_is_written_in_full_whatever_its_size(scaled: int, exponent: int) -> None:
    """Printing never rounds, also beyond the 28 digits of Python's decimal context."""
    whole, _, decimals = decimal_text(scaled, exponent).partition(".")
    assert len(decimals) == exponent
    assert int(whole.removeprefix("-") + decimals) == abs(scaled)


@given(st.decimals(0, 10**14, places=2), EXPONENTS)
def test_an_amount_is_its_decimal_or_refused(amount: Decimal, exponent: int) -> None:
    """An amount is read as exactly the decimal that was written; what the exponent cannot hold is refused, never rounded."""
    try:
        scaled = parse_scaled(str(amount).encode(), exponent)
    except Refusal:
        assert amount != amount.quantize(Decimal(1).scaleb(-exponent))
    else:
        assert Decimal(scaled) == amount * 10**exponent


@pytest.mark.parametrize(
    ("raw", "exponent", "scaled"),
    [
        (b"0.1", 2, 10),
        (b"0.29", 2, 29),  # int(0.29 * 100) is 28
        (b"1.10000000000000000000", 2, 110),
        (b'"007.5"', 2, 750),
        (b"1E+2", 2, 10_000),
        (b"1.5e-1", 2, 15),
        (b"999999999999999.99", 2, 99_999_999_999_999_999),
        (b"31", 0, 31),
    ],
)
def test_amounts_that_a_float_would_get_wrong(raw: bytes, exponent: int, scaled: int) -> None:
    """Amounts that binary floats cannot hold are read exactly."""
    assert parse_scaled(raw, exponent) == scaled


@pytest.mark.parametrize(
    "raw",
    [
        b"null",
        b"true",
        b"",
        b'""',
        b'"',
        b'"1',
        b'1"',
        b".5",
        b"5.",
        b"1,5",
        b'"1e2"',
        b"1e99",
        b"NaN",
        b"Infinity",
        b"[1]",
        b"{}",
        b"1.005",
        b"1" * 16,
        '"\u0661"'.encode(),
        b"--1",
        b" 1",
        b'"\xff"',
    ],
)
def test_what_is_no_amount_is_refused(raw: bytes) -> None:
    """Whatever is not a plain decimal of a currency with cents is refused with its place."""
    with pytest.raises(Refusal) as refused:
        Scale(2).read(raw, "/total")
    assert (refused.value.pointer, refused.value.reason) == ("/total", "amount")


def test_an_amount_is_never_negative() -> None:
    """A return's amounts are positive on the wire; a negative one is refused however often it is asked, with each place."""
    scale = Scale(2)
    for pointer in ("/total", "/discount"):
        with pytest.raises(Refusal) as refused:
            scale.read_or_none(b"-1", pointer)
        assert refused.value.pointer == pointer


def test_the_memory_of_amounts_is_bounded_and_forgets_nothing_that_matters() -> None:
    """However many different amounts come, so many are kept at most, and each is still read right."""
    scale = Scale(2)
    for number in range(Scale.LIMIT + 10):
        assert scale.read(b"%d" % number, "") == number * 100
        assert len(scale) <= Scale.LIMIT
    assert scale.read_or_none(b"null", "") is None


def test_currencies_have_their_own_decimals() -> None:
    """ISO 4217: yen have none, Kuwaiti dinars three, euros two."""
    assert [currency_exponent(code) for code in ("JPY", "KWD", "EUR")] == [0, 3, 2]


def test_short_text_keeps_the_value() -> None:
    """Zeros at the end go, zeros before the point stay, no exponent appears."""
    assert [short_text(Decimal(text)) for text in ("150.00", "100", "1E+3", "0.10")] == ["150", "100", "1000", "0.1"]


@given(INSTANTS_MS)
def test_an_instant_survives_being_written(instant_ms: int) -> None:
    """Parse ∘ print is the identity on milliseconds."""
    assert parse_instant(iso(instant_ms)) == instant_ms
    assert to_ms(from_ms(instant_ms)) == instant_ms


@given(INSTANTS_MS)
def test_the_usual_form_is_read_like_any_other(instant_ms: int) -> None:
    """Instants in UTC are read part by part once their day is known, and say what they say with an offset written out."""
    whole = iso(instant_ms)[:19] + "Z"
    for text in (iso(instant_ms), whole):
        assert parse_instant(text) == parse_instant(text) == parse_instant(text.replace("Z", "+00:00"))


@pytest.mark.parametrize(
    "text",
    ["2026-02-28T24:00:00Z", "2026-02-28T 1:00:00Z", "2026-02-28T10:15:60Z", "2026-02-28T10:15:30.Z", "2026-02-28T10:15:30", "2026-02-28T10:15Z"],
)
def test_a_known_day_hides_no_fault(text: str) -> None:
    """What is wrong beside a day that is remembered is refused all the same."""
    assert parse_instant("2026-02-28T10:15:30.250Z") == parse_instant("2026-02-28T10:15:30.25Z")
    with pytest.raises(Refusal):
        parse_instant(text)


@given(SECONDS, OFFSETS, st.text("0123456789", min_size=1, max_size=12))
def test_instants_are_floored_to_the_millisecond(moment: datetime, offset: timezone, fraction: str) -> None:
    """Digits below the millisecond are cut off, whatever the offset and however many there are."""
    moment = moment.replace(tzinfo=offset)
    text = f"{moment:%Y-%m-%dT%H:%M:%S}.{fraction}{moment.isoformat()[19:]}"
    assert parse_instant(text) == round(moment.timestamp()) * 1000 + int(fraction.ljust(3, "0")[:3])


@given(SECONDS)
def test_before_the_epoch_the_floor_goes_down(moment: datetime) -> None:
    """Flooring is towards the past also for negative instants: -0.5 ms is -1 ms."""
    instant = 2 * datetime(1970, 1, 1, tzinfo=UTC).timestamp() - moment.replace(tzinfo=UTC).timestamp()
    early = datetime.fromtimestamp(instant, UTC) - timedelta(microseconds=500)
    assert to_ms(early) == round(instant) * 1000 - 1


@pytest.mark.parametrize(
    "text",
    ["", "2026-01-01", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-01-01T00:00:00+25:00", "now"],
)
def test_what_is_no_instant_is_refused(text: str) -> None:
    """An instant needs a date that exists, a time and an offset."""
    with pytest.raises(Refusal) as refused:
        parse_instant(text, "/at")
    assert refused.value.pointer == "/at"


@pytest.mark.parametrize("given_date", ["2026-02-30", "20260201", "2026-W01-1", "2026-1-01", 20260101, None])
def test_what_is_no_date_is_refused(given_date: object) -> None:
    """A date is YYYY-MM-DD and exists."""
    with pytest.raises(Refusal):
        parse_date(given_date, "/birth_date")


@given(st.integers(0, 1_200), st.integers(0, 10**6))
def test_a_duration_survives_being_written(months: int, seconds: int) -> None:
    """Parse ∘ print is the identity on durations longer than nothing."""
    if months or seconds:
        duration = Duration(months, seconds * 1000)
        assert parse_duration(str(duration)) == duration


@pytest.mark.parametrize("text", ["P", "PT", "P0D", "P1.5D", "P-1D", "1D", "PT1D", "P1H", "p1d", None, 5])
def test_what_is_no_duration_is_refused(text: object) -> None:
    """A duration is ISO 8601 and longer than nothing."""
    with pytest.raises(Refusal):
        parse_duration(text, "/last")
