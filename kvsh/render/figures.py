"""Times and durations of a map for reading: the unit is the end of their name. Programs get the numbers.

Times are in UTC, because this package knows no time zone. Names stay as they are in JSON and in the manual.
"""

from typing import Any

TIMES = ("time", "since", "started", "expires")  # Unix ms
UNITS_US = {"ms": 1_000, "us": 1}
COUNTED = "below_"  # a bucket of a histogram: the name has the unit of its bound, and the value is a count
YES_OR_WHY = ("read_only",)  # nil, or the reason
MS_MIN, MS_MAX = 10**11, 253_402_300_799_999  # a Unix time in ms, from 1973 to the end of the year 9999
MS_PER_DAY = 86_400_000
# A unit and its microseconds, then the smaller unit shown with it and its microseconds.
SPANS = (
    ("d", 86_400_000_000, "h", 3_600_000_000),
    ("h", 3_600_000_000, "min", 60_000_000),
    ("min", 60_000_000, "s", 1_000_000),
)


def figure_text(name: str, value: Any) -> str | None:
    """Return a named value for reading, or None if its name has no unit."""
    if value is None and name in YES_OR_WHY:
        return "false"
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        return None
    if name in TIMES:
        return time_text(int(value)) if MS_MIN <= value <= MS_MAX else None
    unit = UNITS_US.get(name.rpartition("_")[2])
    return None if unit is None or name.startswith(COUNTED) else duration_text(value * unit)


def duration_text(us: float) -> str:
    """Return a duration: `41 us`, `8.46 ms`, `5.4 s`, `3 h 12 min`."""
    for name, size, small_name, small_size in SPANS:
        if us >= size:
            return f"{int(us // size)} {name} {int(us % size // small_size)} {small_name}"
    for name, size in (("s", 1_000_000), ("ms", 1_000)):
        if us >= size:
            return f"{short(us / size)} {name}"
    return f"{short(us)} us"


def short(number: float) -> str:
    """Return a number below 1000 with three digits."""
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"  # noqa: PLR2004  # .3g makes 1e+03 of 999.9


def time_text(ms: int) -> str:
    """Return a Unix time in milliseconds as `2026-11-30 08:09:12.496 UTC`."""
    days, rest = divmod(ms, MS_PER_DAY)
    year, month, day = date_of(days)
    seconds, thousandths = divmod(rest, 1000)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{thousandths:03}"
    return f"{year:04}-{month:02}-{day:02} {clock} UTC"


def date_of(days: int) -> tuple[int, int, int]:
    """Return year, month and day for a number of days since 1970-01-01 (Howard Hinnant's civil_from_days)."""
    era, of_era = divmod(days + 719_468, 146_097)
    year_of_era = (of_era - of_era // 1_460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * of_year + 2) // 153  # months from March on
    day = of_year - (153 * shifted + 2) // 5 + 1
    month = shifted + 3 if shifted < 10 else shifted - 9  # noqa: PLR2004  # ten months from March to December
    return year_of_era + era * 400 + (month <= 2), month, day  # noqa: PLR2004  # January and February
