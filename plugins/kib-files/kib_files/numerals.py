"""Roman numerals."""

__all__ = ["roman"]

ROMAN = (
    *((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl")),
    *((10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i")),
)
ROMAN_END = 4000
"""The first number that has no Roman numeral."""


def roman(number: int) -> str:
    """Return a number as a Roman numeral in small letters, or as digits if the number has no Roman numeral."""
    if not 0 < number < ROMAN_END:
        return str(number)
    numeral = ""
    for value, digits in ROMAN:
        count, number = divmod(number, value)
        numeral += digits * count
    return numeral
