"""Writes the JSON Lines files of the scripts that convert official data sets."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write records to a file, one JSON object per line."""
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    except OSError as error:
        raise SystemExit(
            f"{path}: cannot be written ({error.strerror}); name a different folder as the second argument"
        ) from None
    print(f"{path}: {len(lines)} lines")
