"""Schedules, compared with looking at every minute."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import ValueInvalid
from registry.services.cron import Schedule, parse_schedule


def after(text: str, moment: str) -> str:
    begin = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    found = parse_schedule(text).after(int(begin.timestamp() * 1_000_000))
    return datetime.fromtimestamp(found / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M")


@pytest.mark.parametrize(
    ("text", "moment", "expected"),
    [
        ("0 3 * * *", "2026-11-22 02:59:59", "2026-11-22 03:00"),
        ("0 3 * * *", "2026-11-22 03:00:00", "2026-11-23 03:00"),
        ("*/20 * * * *", "2026-11-22 23:41", "2026-11-23 00:00"),
        ("5/20 * * * *", "2026-11-22 23:41", "2026-11-22 23:45"),
        ("0 0 29 2 *", "2026-11-22 00:00", "2028-02-29 00:00"),
        ("0 0 29 2 *", "2096-03-01 00:00", "2104-02-29 00:00"),
        ("0 0 1 * mon", "2026-11-22 00:00", "2026-11-23 00:00"),  # either kind of day
        ("0 0 */2 * mon", "2026-11-22 00:00", "2026-11-23 00:00"),
        ("0 12 * * 7", "2026-11-22 00:00", "2026-11-22 12:00"),
        ("30 6,18 * jan-mar *", "2026-11-22 00:00", "2027-01-01 06:30"),
        ("@weekly", "2026-11-22 00:00", "2026-11-29 00:00"),
        ("30 2 * * *", "2026-03-29 00:00", "2026-03-29 02:30"),  # which summer time leaves out elsewhere
        ("30 2 * * *", "2026-10-25 02:30", "2026-10-26 02:30"),  # which it has twice elsewhere
        ("0 0 29 2 */7", "2032-03-01 00:00", "2060-02-29 00:00"),  # both kinds of days: on a Sunday
        ("0 0 29 2 */7", "2088-03-01 00:00", "2128-02-29 00:00"),
        ("0 0 31 4,6,12 *", "2026-11-22 00:00", "2026-12-31 00:00"),
        ("0 0 30 2 1", "2026-11-22 00:00", "2027-02-01 00:00"),  # never the 30th, but on Mondays
    ],
)
def test_when(text: str, moment: str, expected: str) -> None:
    assert after(text, moment) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "* * * *", "0 0 0 * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8"),
        *("a * * * *", "*/0 * * * *", "5-1 * * * *", "1,,2 * * * *", "@never", "-1 * * * *", "* " * 99),
        *(
            "* * * * fri-mon",
            "* * * jan-x *",
            "* * * * *;",
            "@daily @daily",
            "\uff11 * * * *",
            "1.5 * * * *",
            "*" * 200,
        ),
    ],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueInvalid, match=r"^schedule: "):
        parse_schedule(text)


@pytest.mark.parametrize("text", ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "0 0 30,31 feb *", "* * 31 4 */2"])
def test_what_never_comes_is_refused(text: str) -> None:
    with pytest.raises(ValueInvalid, match="schedule: none of its months has such a day"):
        parse_schedule(text)


@given(st.text("0123456789*/,- @abcdefghijklmnoprtuvwy", max_size=24) | st.text(max_size=12))
def test_a_schedule_is_understood_or_refused(text: str) -> None:
    try:
        schedule = parse_schedule(text)
    except ValueInvalid as error:
        assert error.message.startswith("schedule: ")
    else:
        schedule.after(4_000_000_000_000_000)


YEARS = [datetime(1999, 1, 1, tzinfo=UTC) + timedelta(days=number) for number in range(45 * 366)]


@settings(max_examples=40)
@given(st.integers(28, 31), st.sets(st.sampled_from([2, 4, 12]), min_size=1), st.sampled_from(["*", "*/3", "*/7", "1"]))
def test_days_that_are_rare(day: int, months: set[int], weekdays: str) -> None:
    text = f"0 0 {day} {','.join(map(str, sorted(months)))} {weekdays}"
    try:
        schedule = parse_schedule(text)
    except ValueInvalid:
        assert months <= {2, 4} and weekdays != "1" and day > (29 if months == {2} else 30)
        return
    found = datetime.fromtimestamp(schedule.after(int(YEARS[0].timestamp() * 1_000_000)) / 1_000_000, UTC)
    assert found == next(one for one in YEARS[1:] if holds(schedule, one))


def fields(lowest: int, highest: int) -> st.SearchStrategy[str]:
    number = st.integers(lowest, highest)
    span = st.tuples(number, number).map(lambda two: f"{min(two)}-{max(two)}")
    step = st.tuples(st.one_of(st.just("*"), span), st.integers(1, 9)).map(lambda two: f"{two[0]}/{two[1]}")
    return st.one_of(
        st.just("*"), st.lists(st.one_of(number.map(str), span, step), min_size=1, max_size=3).map(",".join)
    )


schedules = st.tuples(fields(0, 59), fields(0, 23), fields(1, 28), fields(1, 12), fields(0, 7)).map(" ".join)


def holds(schedule: Schedule, moment: datetime) -> bool:
    days = moment.day in schedule.days, moment.isoweekday() % 7 in schedule.weekdays
    any_kind = schedule.any_day or schedule.any_weekday
    return (
        moment.minute in schedule.minutes
        and moment.hour in schedule.hours
        and moment.month in schedule.months
        and (all(days) if any_kind else any(days))
    )


@settings(max_examples=25)
@given(schedules, st.integers(0, 10 * 365 * 86400))
def test_nothing_is_due_in_between(text: str, seconds: int) -> None:
    schedule, begin = parse_schedule(text), datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    found = datetime.fromtimestamp(schedule.after(int(begin.timestamp() * 1_000_000)) / 1_000_000, UTC)
    assert found > begin
    assert holds(schedule, found)
    minute = begin.replace(second=0, microsecond=0) + timedelta(minutes=1)
    while minute < min(found, begin + timedelta(days=1)):
        assert not holds(schedule, minute)
        minute += timedelta(minutes=1)
