"""Schedules as cron has them: five fields, in UTC. Pure."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from registry.errors import ValueInvalid

_NAMED = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
}
_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of the month", 1, 31), ("month", 1, 12), ("day of the week", 0, 7))
_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec"
_DAYS = "sun mon tue wed thu fri sat"
_WORDS = {
    "month": {word: number for number, word in enumerate(_MONTHS.split(), 1)},
    "day of the week": {word: number for number, word in enumerate(_DAYS.split())},
}
_PART = re.compile(r"(\*|([a-z0-9]{1,3})(?:-([a-z0-9]{1,3}))?)(?:/([0-9]{1,2}))?").fullmatch
_LONGEST = 100
_FARTHEST_YEARS = 41
"""29 February comes within eight years, and as a certain day of the week within forty, whatever the century."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When something is due. Where both kinds of days are limited, a day of either kind will do, as everywhere."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool

    def after(self, time: int) -> int:
        """Return the next time that is due, after one. Both in microseconds since the epoch.

        Raises ValueInvalid: none ever is.
        """
        moment = datetime.fromtimestamp(time // 1_000_000, UTC).replace(second=0) + timedelta(minutes=1)
        day = moment.replace(hour=0, minute=0)
        while day.year <= moment.year + _FARTHEST_YEARS:
            if day.month not in self.months:
                day = (day.replace(day=1) + timedelta(days=31)).replace(day=1)
                continue
            if self._has(day):
                for hour in sorted(self.hours):
                    for minute in sorted(self.minutes):
                        due = day.replace(hour=hour, minute=minute)
                        if due >= moment:
                            return int(due.timestamp()) * 1_000_000
            day += timedelta(days=1)
        raise ValueInvalid("schedule: none of its months has such a day, so it would never be due")

    def _has(self, day: datetime) -> bool:
        """Say whether something is due on a day of one of the months."""
        in_month, in_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        if self.any_day or self.any_weekday:
            return in_month and in_week
        return in_month or in_week


def parse_schedule(text: str) -> Schedule:
    """Return what `minute hour day month weekday` says. Raises ValueInvalid.

    Each is `*`, a number, `a-b`, with a step after `/`, or several with commas between; months and days of the week may
    be words of three letters. `@hourly`, `@daily`, `@weekly` and `@monthly` stand for the beginning of each.
    """
    words = _NAMED.get(text.strip().lower(), text).lower().split() if len(text) <= _LONGEST else []
    if len(words) != len(_FIELDS):
        raise ValueInvalid(
            "schedule: expected five fields, minute hour day month weekday, in UTC: `0 3 * * *` is each day at three "
            "(there are no seconds)"
        )
    minutes, hours, days, months, weekdays = (_field(word, *field) for word, field in zip(words, _FIELDS, strict=True))
    made = Schedule(
        minutes,
        hours,
        days,
        months,
        frozenset(day % 7 for day in weekdays),
        any_day=words[2].startswith("*"),
        any_weekday=words[4].startswith("*"),
    )
    made.after(0)
    return made


def _field(text: str, name: str, lowest: int, highest: int) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        matched = _PART(part)
        if matched is None:
            raise ValueInvalid(f"schedule: {part[:20]!r} is no {name}")
        everything, first, last, step = matched[1] == "*", matched[2], matched[3], matched[4]
        begin = lowest if everything else _number(first, name, lowest, highest)
        if everything or (step and not last):
            end = highest
        else:
            end = _number(last or first, name, lowest, highest)
        if end < begin or step in {"0", "00"}:
            raise ValueInvalid(f"schedule: {part[:20]!r} is no {name}: nothing is in it")
        found |= set(range(begin, end + 1, int(step or 1)))
    return frozenset(found)


def _number(text: str, name: str, lowest: int, highest: int) -> int:
    number = _WORDS.get(name, {}).get(text, int(text) if text.isdecimal() else -1)
    if not lowest <= number <= highest:
        raise ValueInvalid(f"schedule: {text!r} is no {name}: expected {lowest} to {highest}")
    return number
