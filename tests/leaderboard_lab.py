"""Synthetic benchmark results for the leaderboard tests, written with kib's store."""

from kib.identity import digest
from kib.leaderboard import make_table
from kib.records import Cell, Environment, Score
from kib.store.result_records import BenchmarkPlan, CellResult, Failure, MethodEntry, TaskEntry, Times, TrainingRecord
from kib.store.results import Results

__all__ = ["METHODS", "NEW", "OLD", "Lab", "chance", "costly", "full_lab", "row"]

OLD = Environment("cpu", {"lm-eval": "0.4.13", "torch": "2.13.0"})
NEW = Environment("cpu", {"lm-eval": "0.4.13", "torch": "2.14.1"})
METHODS = {
    "base": MethodEntry(None, None),
    "rag": MethodEntry(None, "bm25"),
    "ft": MethodEntry("lora", None),
    "ft+rag": MethodEntry("lora", "bm25"),
    "gold": MethodEntry(None, "gold", "ceiling"),
    "random": MethodEntry(None, "any", "control"),
}
PROMPT_FACTS = ("tokens", "written", "passages", "prompts", "logprobs", "flops")
FACTS = ("ids", "groups", "gold", "n", "metric", "where", *PROMPT_FACTS, "probes", "outputs")


class Lab:
    """Writes the results of a synthetic benchmark, cell by cell."""

    def __init__(self, folder, name="lab", n=20, methods=METHODS):
        self.results = Results(folder / name)
        self.name, self.n, self.methods = name, n, methods
        self.title = "A small world"
        self.tasks, self.cells, self.failures, self.prices = {}, [], {}, {}

    def task(self, name="new", role="target", **more):
        """Add a task to the plan."""
        self.tasks[name] = TaskEntry(role, None, self.n, **more)
        return self

    def plan(self, method, task="new", k=None, seed=0, model="tiny", shots=0, salt="", **more):
        """Add a cell to the plan without measuring it."""
        if task not in self.tasks:
            self.task(task)
        settings = more.pop("settings", ()) + ((("k", k),) if k else ())
        identity = digest([self.name, method, settings, task, seed, model, shots, salt, sorted(more)])
        cell = Cell(model, method, settings, task, more.pop("corpus", None), shots, seed, identity, **more)
        self.cells.append(cell)
        return cell

    def add(self, right, method, task="new", **more):
        """Plan and measure a cell; `right` is the number of leading correct answers or a list of scores."""
        facts = {key: more.pop(key) for key in FACTS if key in more}
        dropped, training = more.pop("dropped", 0), more.pop("training", {})
        times = more.pop("times", None)
        cell = self.plan(method, task, **more)
        n = facts.get("n", self.n)
        scores = [int(number < right) for number in range(n)] if isinstance(right, int) else right
        lines = self._lines(scores, facts, cell)
        where = facts.get("where", OLD)
        result = CellResult(
            cell=cell,
            n=len(scores),
            correct=sum(scores),
            metric=facts.get("metric", "acc"),
            environments=where if isinstance(where, tuple) else (where,),
            prompt_tokens=facts.get("tokens"),
            output_tokens=facts.get("written"),
            dropped_passages=dropped,
            dropped_questions=min(dropped, n),
            flops=facts.get("flops"),
            training=TrainingRecord(**training) if training else None,
        )
        self.results.save_cell(result, lines, times)
        return cell

    def _lines(self, scores, facts, cell):
        ids = facts.get("ids") or [f"q{number}" for number in range(len(scores))]
        groups = facts.get("groups") or [None] * len(scores)
        gold = facts.get("gold") or [None] * len(scores)
        passages = facts.get("passages") or [
            tuple(f"{name}#{rank}" for rank in range(dict(cell.settings).get("k", 0))) for name in ids
        ]
        prompts = facts.get("prompts") or [digest([name, cell.identity]) for name in ids]
        logprobs = facts.get("logprobs") or [(-chance(name, cell.identity), -2.0, -2.0, -2.0) for name in ids]
        probes = facts.get("probes") or [None] * len(scores)
        outputs = facts.get("outputs") or [None] * len(scores)
        rows = zip(ids, groups, scores, logprobs, passages, gold, prompts, probes, outputs, strict=True)
        return [
            Score(name, group, score, score, 1, values, output, found, some, 0, None, prompt, probe=probe)
            for name, group, score, values, found, some, prompt, probe, output in rows
        ]

    def fail(self, method, task="new", error="out of memory", unavailable=False, **more):
        """Plan a cell and record a failure for the cell."""
        cell = self.plan(method, task, **more)
        self.failures[cell.id] = Failure("answers", error, unavailable)
        return cell

    def save(self):
        """Write the plan and the failures."""
        used = {cell.method for cell in self.cells}
        methods = {name: entry for name, entry in self.methods.items() if name in used}
        self.results.save_plan(
            BenchmarkPlan(self.name, self.title, self.tasks, methods, tuple(self.cells), prices=self.prices)
        )
        self.results.save_failures(self.failures)
        return self.results

    def table(self, **more):
        """Return the table of the results written so far."""
        return make_table([self.save()], **more)


def row(table, arm, task="new"):
    """Return the only row of an arm on a task."""
    (found,) = [one for one in table.rows if one.arm == arm and one.task == task]
    return found


def chance(*key):
    """Return a reproducible number between 0 and 1."""
    return int(digest(key)[:8], 16) / 2**32


def full_lab(folder, name="lab"):
    """Return a benchmark that produces every column, mark and note of a table."""
    lab = Lab(folder, name, n=60)
    lab.title = "A fictional world: what a small model can be taught"
    lab.task("new").task("worded", no_probe="the questions have one wording only").task("known", "control")
    lab.methods = {**METHODS, "rag": MethodEntry(None, "bm25", chosen=("k",))}
    levels = {"base": 0.3, "rag": 0.8, "ft": 0.65, "ft+rag": 0.78, "gold": 0.95, "random": 0.3}
    arms = [("base", {}), *(("rag", {"k": k}) for k in (1, 2, 3)), ("random", {"k": 2}), ("gold", {"k": 2})]
    arms += [("ft", {"settings": (("rank", 4), ("text.count", 10)), "seed": seed}) for seed in (0, 1, 2)]
    arms += [("ft+rag", {"settings": (("rank", 4), ("text.count", 10)), "k": 3, "seed": seed}) for seed in (0, 1, 2)]
    for task in ("new", "worded", "known"):
        for method, more in arms:
            if task == "known" and method == "gold":
                continue
            level = levels[method] + 0.02 * more.get("k", 0)
            if task == "known":
                level = 0.55 if method.startswith("ft") else 0.85
            key = (task, method, more.get("k", 0), more.get("seed", 0))
            scores = [
                int(0.5 * chance(task, number // 2) + 0.5 * chance(*key, number) < level / 1.3) for number in range(60)
            ]
            some = None
            if more.get("k") and task != "known":
                some = [tuple(chance(*key, number, rank) < 0.5 for rank in range(more["k"])) for number in range(60)]
            facts = {"groups": [f"p{number // 2}" for number in range(60)], "gold": some}
            facts |= {"tokens": 2400 * (1 + more.get("k", 0)), "corpus": "new" if method != "base" else None}
            facts |= {"names_corpus": task == "known" and method.startswith("ft")}
            if task == "worded" and (method, more.get("k")) == ("rag", 2):
                lab.plan(method, task, corpus="new", **more)
            elif task == "worded" and method == "ft+rag" and more["seed"] == 1:
                lab.fail(method, task, corpus="new", error="out of memory:\n  tried to allocate 2.1 GiB", **more)
            else:
                where = NEW if (task, method, more.get("k")) == ("worded", "rag", 1) else OLD
                lab.add(scores, method, task, where=where, dropped=4 * (more.get("k") == 3), **facts, **more)
    probe = [int(0.5 * chance("new", number // 2) + 0.5 * chance("probe", number) < 0.25) for number in range(60)]
    lab.add(probe, "base", "new", split="probe", groups=[f"p{number // 2}" for number in range(60)])
    for task in ("new", "worded"):
        for k in (1, 2, 3):
            lab.add(35 + 4 * (k == 2) + k, "rag", task, k=k, corpus="new", split="validation")
    return lab


def costly(lab):
    """Add arms with costs to a lab: retrieval costs per question and one-time training costs."""
    lab.prices = {"device_hour": 3.6}
    lab.add(4, "base", tokens=20 * 100, flops=20 * 1e6, times=Times(asking=2.0, peak_bytes=3_000_000))
    spent = Times(asking=8.0, searching=2.0, indexing=5.0, index_bytes=12_345)
    lab.add(14, "rag", k=1, tokens=20 * 400, flops=20 * 4e6, times=spent)
    for seed, tokens in ((0, 900), (1, 1100)):
        training = {"trained_tokens": tokens, "flops": 3e9, "first_loss": 2.0, "last_loss": 1.0}
        spent = Times(asking=2.0, training=100.0, peak_bytes=9_000_000)
        lab.add(14 + seed, "ft", seed=seed, tokens=20 * 100, flops=20 * 1e6, training=training, times=spent)
    lab.add(19, "gold", k=1, tokens=20 * 200, flops=20 * 2e6)
    return lab
