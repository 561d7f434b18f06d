"""Installs the test distributions into a folder with the metadata that pip would write, but within milliseconds."""

import shutil
import tomllib
from pathlib import Path

HERE = Path(__file__).parent


def install(site, *names):
    """Copy the modules of each distribution to `site`, write the distribution's metadata and return `site`."""
    site.mkdir(parents=True, exist_ok=True)
    for name in names:
        project = tomllib.loads((HERE / name / "pyproject.toml").read_text())["project"]
        info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir()
        head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        (info / "METADATA").write_text(head)
        lines = []
        for group, entries in project["entry-points"].items():
            lines += [f"[{group}]", *(f"{key} = {target}" for key, target in entries.items()), ""]
        (info / "entry_points.txt").write_text("\n".join(lines))
        for module in (HERE / name).glob("*.py"):
            shutil.copy(module, site)
    return site
