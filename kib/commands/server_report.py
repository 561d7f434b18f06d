"""Tests, for `kib check`, whether the servers of models and systems can answer the questions of a benchmark."""

from collections import Counter
from collections.abc import Sequence

from kib.errors import KibError, NoAnswerError, ServerUnavailableError
from kib.harness.server_backends import CAPABILITIES
from kib.interfaces import ProbedJudge, ProbedModel, ProbedSystem
from kib.plugins.resolve import Locked
from kib.records import AnswerToJudge, ServedAnswer, UnjudgedAnswer, Verdict
from kib.run.failures import explain_error
from kib.run.plugin_calls import call_plugin, check_type
from kib.run.shared_steps import SharedSteps
from kib.run.steps.cells import PreparedCell
from kib.safe_text import one_line
from kib.support.phrases import counted, join, shortened

__all__ = ["probe_judges", "probe_servers"]

TEST_ANSWER = AnswerToJudge("What is the capital of France?", ("Paris",), "It is Paris.")
"""The answer for which `kib check` asks judges on servers."""


def probe_servers(
    steps: SharedSteps,
    ready: Sequence[PreparedCell],
    answerers: Sequence[Locked],
    problems: dict[str, int],
    unavailable: set[str],
) -> list[str]:
    """Send test requests to the servers of models and systems, and return what the servers can do.

    Each problem is added to `problems` and, if it means that a server is unavailable, to `unavailable`.
    """
    lines = []
    for locked in answerers:
        where = (locked.kind, locked.name)
        cells = [one for one in ready if (of := steps.plan.answerer(one.plan.weights)) and (of.kind, of.name) == where]
        try:
            if locked.kind == "systems":
                lines += _probe_system(steps, locked) if cells else []
            else:
                lines += _probe(steps, locked.name, cells, problems)
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything; it is reported as in a run
            _add_problem(steps, locked, error, len(cells), problems, unavailable)
    return lines


def probe_judges(
    steps: SharedSteps, ready: Sequence[PreparedCell], problems: dict[str, int], unavailable: set[str]
) -> list[str]:
    """Ask the server of each judge for one verdict, and return the verdicts; problems are added as above."""
    lines = []
    for name, cells in Counter(prepared.plan.judge for prepared in ready if prepared.plan.judge).items():
        locked = steps.plan.lock.get("judges", str(name))
        try:
            lines += _probe_judge(steps, locked)
        except Exception as error:  # noqa: BLE001 - as above
            _add_problem(steps, locked, error, cells, problems, unavailable)
    return lines


def _add_problem(
    steps: SharedSteps, locked: Locked, error: Exception, cells: int, problems: dict[str, int], unavailable: set[str]
) -> None:
    if not isinstance(error, KibError):
        problems[explain_error(steps.context.work, "testing servers", error)] = cells
        return
    problem = f"{locked.kind}.{locked.name}: {error}"
    problems[problem] = cells
    if isinstance(error, ServerUnavailableError) or (isinstance(error, NoAnswerError) and error.unavailable):
        unavailable.add(problem)


def _probe_judge(steps: SharedSteps, locked: Locked) -> list[str]:
    """Ask a judge on a server for one verdict, and return the verdict."""
    if not isinstance(locked.plugin, ProbedJudge):
        return []
    server, where = locked.plugin.probed_server(), f"judges.{locked.name}"
    steps.context.progress.say(
        f"{where}: asking for a verdict on a test answer without your text at {server}; omit the test with --no-probe"
    )
    with steps.context.progress.step(f"testing {server}"), call_plugin(locked, "probe"):
        verdict = locked.plugin.probe(TEST_ANSWER)
    if isinstance(verdict, UnjudgedAnswer):
        return [one_line(f"{where}: test of {server}: no verdict on a test answer: {verdict.reason}")]
    score = check_type(locked, "probe", verdict, Verdict).score
    return [one_line(f"{where}: test of {server}: verdict {score:g} on a right test answer ({verdict.reason})")]


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
        try:
            reasons |= plugin.probe(others) if others else {}
        except ServerUnavailableError as error:
            reasons |= dict.fromkeys(others, str(error))  # the reasons why a request failed remain
    for kind in kinds:
        if kind in reasons:
            tasks = list(dict.fromkeys(cell.plan.cell.task for cell in needed[kind]))
            named = f"task{'' if len(tasks) == 1 else 's'} {join(tasks)}"
            needs = f"{named} cannot be measured without {CAPABILITIES[kind]}, and the test request failed"
            problems[f"models.{name}: {needs}: {reasons[kind]}"] = len(needed[kind])
    results = [f"{CAPABILITIES[kind]}: {'no' if kind in reasons else 'yes'}" for kind in (*kinds, *others)]
    return [f"models.{name}: test of {server}: {', '.join(results)}"]


def _probe_system(steps: SharedSteps, locked: Locked) -> list[str]:
    """Ask a system on a server one test question, and return what the system answered and reported."""
    if not isinstance(locked.plugin, ProbedSystem):
        return []
    with call_plugin(locked, "probed_server"):
        server = locked.plugin.probed_server()
    where = f"systems.{locked.name}"
    steps.context.progress.say(
        f"{where}: asking a test question without your text at {server}; omit the test with --no-probe"
    )
    with steps.context.progress.step(f"testing {server}"), call_plugin(locked, "probe"):
        served = check_type(locked, "probe", locked.plugin.probe(), ServedAnswer)
    passages = "no passages" if served.passages is None else counted(len(served.passages), "passage")
    cost = "no cost" if served.cost is None else f"cost {served.cost:g}"
    answer = shortened(served.value)
    return [one_line(f"{where}: test of {server}: answer {answer!r}, {passages}, {cost}")]


def _kinds(cell: PreparedCell) -> set[str]:
    """Return the kinds of a cell's requests."""
    return {request.kind for some in cell.requests for request in some}
