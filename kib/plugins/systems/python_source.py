"""Finds the source files of a user's function without running any code."""

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

from kib.errors import InputError
from kib.identity import digest, digest_file

__all__ = ["find_module", "source_digest"]


def find_module(module: str, folder: Path, where: Path | str) -> Path:
    """Return the file of a module, which is in `folder` or else in the environment; packages are not imported.

    `where` is the folder in the words of an error message. Raises InputError if there is no such module, or if it is
    not written in Python.
    """
    top, *inner = module.split(".")
    file = _in_folder(folder, [top, *inner])
    if file is None:
        file = _in_environment(top, inner)
    if file is None:
        path = "/".join([top, *inner])
        raise InputError(f"`function`: no module {module} ({path}.py) in {where} or in the environment")
    return file.resolve()


def _in_folder(folder: Path, parts: list[str]) -> Path | None:
    *packages, name = parts
    base = folder.joinpath(*packages)
    candidates = (base / f"{name}.py", base / name / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


def _in_environment(top: str, inner: list[str]) -> Path | None:
    """Return the file of a module in the environment; the top-level package is located without being imported."""
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not inner:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    places = [Path(place) for place in spec.submodule_search_locations or ()]
    return next((file for place in places if (file := _in_folder(place, inner))), None)


def source_digest(module: str, file: Path) -> str:
    """Return the digest of a module's source code.

    The source code of a module in a package is the whole top-level package. The source code of any other module is its
    file and, recursively, the modules in the same folder that it imports. Raises InputError for invalid syntax.
    """
    depth = len(module.split(".")) + (file.name == "__init__.py")
    if depth > 1:
        package = file.parents[depth - 2]
        files = sorted(path for path in package.rglob("*.py") if "__pycache__" not in path.parts)
    else:
        package = file.parent
        files = sorted(_with_imports(file, {}))
    return digest({path.relative_to(package).as_posix(): digest_file(path) for path in files})


def _with_imports(file: Path, found: dict[Path, None]) -> dict[Path, None]:
    """Add a module and the modules and packages in the same folder that it imports, directly or indirectly."""
    if file in found:
        return found
    found[file] = None
    for name in _imported(file):
        beside, package = file.parent / f"{name}.py", file.parent / name
        if beside.is_file():
            _with_imports(beside, found)
        elif (package / "__init__.py").is_file():
            found.update(dict.fromkeys(path for path in package.rglob("*.py") if "__pycache__" not in path.parts))
    return found


def _imported(file: Path) -> Iterator[str]:
    """Yield the top-level names of all modules that a file imports, even inside functions."""
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        raise InputError(f"{file}:{line}: invalid Python: {getattr(error, 'msg', error)}") from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
