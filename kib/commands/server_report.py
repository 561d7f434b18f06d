"""Tests, for `kib check`, whether the server of each model can measure the tasks of a benchmark."""

from collections.abc import Sequence

from kib.errors import KibError
from kib.harness.server_backends import CAPABILITIES
from kib.interfaces import ProbedModel
from kib.run.failures import explain_error
from kib.run.plugin_calls import call_plugin
from kib.run.shared_steps import SharedSteps
from kib.run.steps.cells import PreparedCell
from kib.support.phrases import join

__all__ = ["probe_servers"]


def probe_servers(
    steps: SharedSteps, ready: Sequence[PreparedCell], models: Sequence[str], problems: dict[str, int]
) -> list[str]:
    """Send test requests to the server of each model; return what the servers can do, and add to `problems`."""
    lines = []
    for name in models:
        cells = [prepared for prepared in ready if prepared.plan.weights.model == name]
        try:
            lines += _probe(steps, name, cells, problems)
        except KibError as error:
            problems[f"models.{name}: {error}"] = len(cells)
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything; it is reported as in a run
            problems[explain_error(steps.context.work, "testing servers", error)] = len(cells)
    return lines


def _probe(steps: SharedSteps, name: str, cells: Sequence[PreparedCell], problems: dict[str, int]) -> list[str]:
    """Send test requests for a model's cells; if one fails, also test whether the server can generate text."""
    locked = steps.plan.lock.get("models", name)
    plugin = locked.plugin
    if not isinstance(plugin, ProbedModel) or not cells:
        return []
    with call_plugin(locked, "probed_server"):
        server = plugin.probed_server()
    if server is None:
        return []
    steps.context.progress.say(
        f"models.{name}: sending test requests without your text to {server}; omit the test with --no-probe"
    )
    needed = {kind: [cell for cell in cells if kind in _kinds(cell)] for kind in CAPABILITIES}
    kinds = [kind for kind in CAPABILITIES if needed[kind]]
    with steps.context.progress.step(f"testing {server}"), call_plugin(locked, "probe"):
        reasons = dict(plugin.probe(kinds))
        others = ["generate_until"] if reasons and "generate_until" not in kinds else []
        reasons |= plugin.probe(others) if others else {}
    for kind in kinds:
        if kind in reasons:
            tasks = list(dict.fromkeys(cell.plan.cell.task for cell in needed[kind]))
            named = f"task{'' if len(tasks) == 1 else 's'} {join(tasks)}"
            needs = f"{named} cannot be measured without {CAPABILITIES[kind]}, and the test request failed"
            problems[f"models.{name}: {needs}: {reasons[kind]}"] = len(needed[kind])
    results = [f"{CAPABILITIES[kind]}: {'no' if kind in reasons else 'yes'}" for kind in (*kinds, *others)]
    return [f"models.{name}: test of {server}: {', '.join(results)}"]


def _kinds(cell: PreparedCell) -> set[str]:
    """Return the kinds of a cell's requests."""
    return {request.kind for some in cell.requests for request in some}
