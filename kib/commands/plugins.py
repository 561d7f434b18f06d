"""The command `kib plugins`: lists the installed plugins, and the reason if a plugin does not work."""

from kib.plugins.registry import installed, problem

__all__ = ["list_plugins"]


def list_plugins() -> str:
    """Return one line per plugin with its kind, name and distribution, and a second line if a plugin does not work."""
    lines = []
    for plugin in installed():
        reason = problem(plugin)
        line = f"{plugin.kind:<11}{plugin.name:<16}{plugin.distribution} {plugin.version}"
        lines.append(line if reason is None else f"{line}\n    does not work: {reason}")
    return "\n".join(lines)
