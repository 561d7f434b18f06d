"""Functions that damage a file. Each function returns whether the file has changed."""

import os
import random
import re
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

PAGE = 4096
SQLITE = b"SQLite format 3\0"

Damage = Callable[[Path, Sequence[Path], random.Random], None]
"""Damages a file; the second argument lists files of the same kind."""


def flip(path: Path, _: Sequence[Path], chance: random.Random) -> None:
    """Flip one bit."""
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def truncate(path: Path, _: Sequence[Path], chance: random.Random) -> None:
    """Truncate the file at a random position."""
    os.truncate(path, chance.randrange(path.stat().st_size))


def zero(path: Path, _: Sequence[Path], chance: random.Random) -> None:
    """Fill a page with zeros, as after a power failure; in a small file, fill a part of the file."""
    data = path.read_bytes()
    size = PAGE if len(data) > PAGE else max(1, len(data) // 4)
    start = chance.randrange(0, len(data), size)
    end = min(len(data), start + size)
    path.write_bytes(data[:start] + bytes(end - start) + data[end:])


def empty(path: Path, _: Sequence[Path], chance: random.Random) -> None:
    """Remove the content."""
    path.write_bytes(b"")


def delete(path: Path, _: Sequence[Path], chance: random.Random) -> None:
    """Remove the file."""
    path.unlink()


def make_folder(path: Path, _: Sequence[Path], chance: random.Random) -> None:
    """Replace the file with a folder."""
    path.unlink()
    path.mkdir()


def garble(path: Path, _: Sequence[Path], chance: random.Random) -> None:
    """Overwrite two bytes with bytes that are invalid in UTF-8."""
    data = bytearray(path.read_bytes())
    start = chance.randrange(max(1, len(data) - 2))
    data[start : start + 2] = b"\xff\xfe"
    path.write_bytes(data)


def rotate(path: Path, _: Sequence[Path], chance: random.Random) -> None:
    """Move the first line to the end; in a file without lines, move some bytes. The size does not change."""
    data = path.read_bytes()
    lines = data.splitlines(keepends=True)
    if len(lines) > 1 and data.endswith(b"\n"):
        path.write_bytes(b"".join(lines[1:] + lines[:1]))
    else:
        step = chance.choice([4, 8, 64]) % max(1, len(data))
        path.write_bytes(data[step:] + data[:step])


def swap(path: Path, siblings: Sequence[Path], chance: random.Random) -> None:
    """Exchange the contents of two files of the same kind."""
    others = [one for one in siblings if one != path]
    if others:
        other = chance.choice(others)
        data = path.read_bytes()
        path.write_bytes(other.read_bytes())
        other.write_bytes(data)


def digit(path: Path, _: Sequence[Path], chance: random.Random) -> None:
    """Change one digit in a text file, which remains valid."""
    _change_one(path, rb"[0-9]", b"123456789", chance)


def letter(path: Path, _: Sequence[Path], chance: random.Random) -> None:
    """Change one letter in a text file, which remains valid."""
    _change_one(path, rb"(?<=[a-z])[a-z](?=[a-z])", b"abcdefghijklmnopqrstuvwxyz", chance)


def _change_one(path: Path, pattern: bytes, others: bytes, chance: random.Random) -> None:
    """Replace one character that matches a pattern with a different character; SQLite files are left unchanged."""
    data = bytearray(path.read_bytes())
    places = [found.start() for found in re.finditer(pattern, data)]
    if places and not data.startswith(SQLITE):
        place = chance.choice(places)
        data[place] = chance.choice([one for one in others if one != data[place]])
        path.write_bytes(data)


def permute(path: Path, _: Sequence[Path], chance: random.Random) -> None:
    """Replace the value of each row in a SQLite table with the value of the next row."""
    if not path.read_bytes().startswith(SQLITE):
        return
    with closing(sqlite3.connect(path)) as connection, connection:
        table, key, value = _columns(connection)
        rows = connection.execute(f"SELECT {key}, {value} FROM {table} ORDER BY {key}").fetchall()  # noqa: S608 - our names
        turned = rows[1:] + rows[:1]
        moved = [(new[1], old[0]) for old, new in zip(rows, turned, strict=True)]
        connection.executemany(f"UPDATE {table} SET {value} = ? WHERE {key} = ?", moved)  # noqa: S608


def _columns(connection: sqlite3.Connection) -> tuple[str, str, str]:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    known = (("answers", "key", "value"), ("kept", "key", "value"), ("embeddings", "key", "vector"))
    return next(one for one in known if one[0] in tables)


def forbid(path: Path, _: Sequence[Path], chance: random.Random) -> None:
    """Remove all permissions."""
    path.chmod(0)


DAMAGES: dict[str, Damage] = {
    "flip": flip,
    "truncate": truncate,
    "zero": zero,
    "empty": empty,
    "delete": delete,
    "folder": make_folder,
    "garble": garble,
    "rotate": rotate,
    "swap": swap,
    "digit": digit,
    "letter": letter,
    "permute": permute,
}
if os.geteuid():  # the administrator reads files without permission
    DAMAGES["forbid"] = forbid


def state(path: Path) -> object:
    """Return the content of a file, or a word that describes what exists at the path instead."""
    if path.is_dir():
        return "folder"
    if not path.exists():
        return "missing"
    return path.read_bytes() if os.access(path, os.R_OK) else "forbidden"
