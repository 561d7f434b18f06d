"""Installs the toy plugins in a folder, which can then be added to the module search path."""

import shutil
import tomllib
from pathlib import Path

TOYS = Path(__file__).parent / "plugins" / "kib-toys"


def make_toy_site(site):
    """Write kib-toys to a folder with the metadata of a pip installation, and return the folder."""
    project = tomllib.loads((TOYS / "pyproject.toml").read_text())["project"]
    info = site / f"kib_toys-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: kib-toys\nVersion: {project['version']}\n")
    groups = project["entry-points"].items()
    lines = [f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in some.items()) for group, some in groups]
    (info / "entry_points.txt").write_text("\n".join(lines))
    shutil.copy(TOYS / "kib_toys.py", site)
    return site
