"""Convert templates that display dates and ages, such as `birth date`, `dts` and `age`, without losing a number."""

from collections.abc import Callable, Sequence
from datetime import date

__all__ = ["DATE_FUNCTIONS"]

Unnamed = Sequence[str]
Named = Callable[[str], str]


MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November"),
    "December",
)


def _date(unnamed: Unnamed, named: Named) -> str:
    """Return a date: `{{birth date|1809|2|12}}` becomes "February 12, 1809" or, with `df=yes`, "12 February 1809"."""
    return _written(unnamed, day_first=named("df").lower() in ("y", "yes", "1", "true"))


def _written(parts: Sequence[str], *, day_first: bool) -> str:
    """Return a year, month and day as displayed; the month is a number or a name, and month and day may be missing."""
    year, month, day = (*parts, "", "", "")[:3]
    if len(day) == len("1990") and len(year) < len(day):  # other languages start with the day
        year, day, day_first = day, year, True
    if not year.isdigit():
        return " ".join(part for part in (year, month, day) if part)
    if month.isdigit() and 1 <= int(month) <= len(MONTHS):
        month = MONTHS[int(month) - 1]
    day = day.lstrip("0")
    if day and not day_first:
        return f"{month} {day}, {year}"
    return " ".join(part for part in (day, month, year) if part)


def _as_of(unnamed: Unnamed, named: Named) -> str:
    """Return a date after "As of": `{{As of|2016|4}}` becomes "As of April 2016"."""
    if named("alt"):
        return named("alt")
    word = ("since" if named("lc") else "Since") if named("since") else ("as of" if named("lc") else "As of")
    return f"{word} {_written(unnamed, day_first=named('df').lower() != 'us')}" if unnamed else ""


def _first(unnamed: Unnamed, _: Named) -> str:
    return next(iter(unnamed), "")


def _year_of_birth(unnamed: Unnamed, _: Named) -> str:
    """Return the possible years: `{{birth based on age as of date|50|2020|1|1}}` becomes "1969 or 1970"."""
    if len(unnamed) < 2 or not all(value.isdigit() for value in unnamed[:2]):
        return ""
    age, year = int(unnamed[0]), int(unnamed[1])
    return f"{year - age - 1} or {year - age}"


def _marriage(unnamed: Unnamed, _: Named) -> str:
    """Return a spouse with the years of the marriage: `{{marriage|Ada|1980|1990}}` becomes "Ada (m. 1980–1990)"."""
    name, *years = (*unnamed, "")[:3]
    married = "–".join(year for year in years if year)
    return f"{name} (m. {married})" if married else name


def _era(name: str, *, before: bool = False) -> Callable[[Unnamed, Named], str]:
    """Return a function for an era with or without a year: `{{BCE|44}}` becomes "44 BCE"."""
    return lambda unnamed, _: " ".join([name, *unnamed[:1]] if before else [*unnamed[:1], name])


def _days(unnamed: Unnamed, _: Named) -> str:
    """Return the number of days between two dates: `{{age in days|2000|1|1|2000|2|1}}` becomes "31"."""
    try:
        start, end = (date(*map(int, unnamed[at : at + 3])) for at in (0, 3))
    except (ValueError, TypeError, OverflowError):
        return ""
    return str((end - start).days)


def _date_and_age(unnamed: Unnamed, named: Named) -> str:
    """Return a date of death: `{{death date and age|1865|4|15|1809|2|12}}` becomes "April 15, 1865 (aged 56)"."""
    age = _age(unnamed[3:6], unnamed[:3])
    return f"{_date(unnamed, named)} (aged {age})" if age else _date(unnamed, named)


def _years(unnamed: Unnamed, _: Named) -> str:
    """Return the year of death: `{{death year and age|1990|1920}}` becomes "1990 (aged 69–70)"."""
    if len(unnamed) > 1 and all(value.isdigit() for value in unnamed[:2]):
        age = int(unnamed[0]) - int(unnamed[1])
        return f"{unnamed[0]} (aged {age - 1}–{age})"
    return next(iter(unnamed), "")


def _years_between(unnamed: Unnamed, _: Named) -> str:
    return _age(unnamed[:3], unnamed[3:6])


def _age(start: Sequence[str], end: Sequence[str]) -> str:
    """Return the number of full years between two dates, each of three numbers, or "" without two dates."""
    if len(start) < 3 or len(end) < 3 or not all(part.isdigit() for part in (*start, *end)):
        return ""
    first, last = [int(part) for part in start], [int(part) for part in end]
    return str(last[0] - first[0] - (last[1:] < first[1:]))


def _old_style_date(unnamed: Unnamed, _: Named) -> str:
    """Return a date in two calendars: `{{OldStyleDate|3 May|1616|23 April}}` becomes "3 May [O.S. 23 April] 1616"."""
    day, year, old = (*unnamed, "", "", "")[:3]
    return " ".join(part for part in (day, f"[O.S. {old}]" if old else "", year) if part)


DATES = (
    *("date", "dts", "start date", "start date and age", "end date", "film date", "release date", "launch date"),
    *("birth date", "birth date and age", "birthdate", "bda", "dob", "death date", "end date and age"),
    *("fecha", "fecha de nacimiento", "fecha de inicio", "fecha de fin"),
)

DATE_FUNCTIONS: dict[str, Callable[[Unnamed, Named], str]] = {
    **dict.fromkeys(DATES, _date),
    **dict.fromkeys(("as of", "asof"), _as_of),
    **dict.fromkeys(("birth-date", "birth-date and age", "death-date", "death-date and age"), _first),
    "birth year and age": _first,
    "death year and age": _years,
    **dict.fromkeys(("death date and age", "dda"), _date_and_age),
    "birth based on age as of date": _year_of_birth,
    **dict.fromkeys(("age", "age in years"), _years_between),
    "age in days": _days,
    "marriage": _marriage,
    **{era.lower(): _era(era, before=True) for era in ("AD", "AH")},
    **{era.lower(): _era(era) for era in ("BC", "BCE", "CE")},
    **dict.fromkeys(("oldstyledate", "oldstyledatedy", "oldstyledateny"), _old_style_date),
}
"""Maps the lowercase name of a template to the function that computes the template's text."""
