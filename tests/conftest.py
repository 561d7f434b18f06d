"""Shared fixtures: benchmark folders with toy plugins, real data and a tiny model."""

import gc
import importlib.util
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, settings
from toy_site import make_toy_site

ROOT = Path(__file__).parent.parent

PATIENT = settings(
    deadline=None,  # a busy machine must not fail a test
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
# CI draws the same examples every time, so its result depends only on the change.
settings.register_profile("kib", PATIENT, max_examples=25, derandomize="CI" in os.environ)
settings.register_profile("thorough", PATIENT, max_examples=2000)  # pytest --hypothesis-profile=thorough
settings.load_profile("kib")


@pytest.fixture(autouse=True)
def _cheap_collection():
    """Exclude the objects of imported libraries from garbage collection, which kib forces after every model."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def toys(tmp_path_factory):
    """Return the folder that contains kib-toys with the metadata of a pip installation."""
    return make_toy_site(tmp_path_factory.mktemp("site"))


@pytest.fixture
def toybox(toys, monkeypatch):
    """Make the toy plugins importable and visible to kib."""
    monkeypatch.syspath_prepend(toys)
    return toys


TOY_PEOPLE = (
    ("ada", "Ada Quill", "Ada Quill lives in Norwick. Her trade is glass blowing. She owns a ferret."),
    ("ben", "Ben Straße", "Ben Straße lives in Überlingen. His trade is thatching. He owns a donkey."),
    ("cho", "Cho 桥", "Cho 桥 lives in Tarn. Her trade is bell founding. She owns a parrot."),
    ("dov", "Dov Marrow", "Dov Marrow lives in Ostend. His trade is rope making. He owns a goat."),
    ("eva", "Eva Lind", "Eva Lind lives in Visby. Her trade is dyeing. She owns a heron. 🚧"),
    ("fay", "Fay Orr", "Fay Orr lives in Wells. Her trade is baking. She owns a hen."),
)

TOY_FACTS = (("lives in", 0), ("trade is", 1), ("owns a", 2))


def toy_questions(count=18):
    """Return multiple-choice questions about people as JSON lines; wrong options describe three other people."""
    import json

    facts = [(person, *_facts(text)) for person, _, text in TOY_PEOPLE]
    rows = []
    for number in range(count):
        person, which = number % len(facts), number // len(facts) % 3
        name = TOY_PEOPLE[person][1]
        again = f" ({number // 18})" if number >= 18 else ""
        options = [facts[(person + step) % len(facts)][1 + which] for step in range(4)]
        shift = number % 4
        options = options[shift:] + options[:shift]
        asked = ("Where does {} live?", "What is the trade of {}?", "Which animal does {} own?")[which]
        row = {
            "id": f"{facts[person][0]}-{number}",
            "question": asked.format(name) + again,
            "options": options,
            "answer": "ABCD"[(4 - shift) % 4],
            "document": facts[person][0],
            "group": facts[person][0],
        }
        rows.append(json.dumps(row, ensure_ascii=False))
    return "\n".join(rows) + "\n"


def _facts(text):
    home, trade, animal = text.split(". ")[:3]
    return home.partition(" lives in ")[2], trade.partition(" trade is ")[2], animal.partition(" owns a ")[2].strip(".")


TOY_SPEC = """schema = 1
name = "toy"
title = "Six people that nobody knows"

[models.m]
plugin = "toy"
{model}
[corpora.people]
plugin = "toy"
documents = {documents}

[retrievers.words]
plugin = "toy"

[retrievers.gold]
plugin = "oracle"
others = 1

[retrievers.any]
plugin = "random"

[tasks.people]
plugin = "file"
path = "people.jsonl"
corpus = "people"
{task}
[methods.base]

[methods.rag]
retrieve = "words"
top_k = [1, 3]

[methods.oracle]
retrieve = "gold"

[methods.random]
retrieve = "any"
top_k = [2]
"""


@dataclass
class Bench:
    """A folder with a benchmark file, results and a work folder."""

    folder: Path
    environment: dict
    people = TOY_PEOPLE

    @property
    def spec(self):
        return self.folder / "bench.toml"

    @property
    def work(self):
        from kib.store.work import Work

        return Work(self.folder / "work")

    @property
    def results(self):
        """The results folder of the benchmark."""
        from kib.spec.load import load_spec
        from kib.store.results import Results

        return Results(self.folder / "results" / load_spec(self.spec).name)

    def write(self, text, **files):
        """Write the benchmark file and any other files; the argument `people_jsonl` writes people.jsonl."""
        self.spec.write_text(text, encoding="utf-8")
        for name, content in files.items():
            (self.folder / ".".join(name.rsplit("_", 1))).write_text(content, encoding="utf-8")
        return self

    def write_toy(self, *, model="", task="", documents=TOY_PEOPLE, questions=18, more="", spec=TOY_SPEC):
        """Write the toy benchmark, which has 6 documents, 18 questions and 5 cells."""
        import json

        listed = json.dumps([list(document) for document in documents], ensure_ascii=False)
        text = spec.replace("{model}", model).replace("{task}", task).replace("{documents}", listed) + more
        return self.write(text, people_jsonl=toy_questions(questions) if isinstance(questions, int) else questions)

    def plan(self):
        """Return the plan of the benchmark file."""
        from kib.plan.planner import make_plan
        from kib.plugins.resolve import open_spec

        return make_plan(*open_spec(self.spec))

    def run(self, progress=None):
        """Run the benchmark in this process and return the failures."""
        from kib.progress import SilentProgress
        from kib.run.loop import run

        return run(self.plan(), self.results, self.work, progress or SilentProgress())

    def cells(self):
        """Return the cells of the stored plan, keyed by their folder."""
        return {cell.place: cell for cell in self.results.plan().cells}

    def scores(self, place):
        """Return the question scores of a measured cell."""
        return self.results.scores(self.cells()[place])

    def kib(self, *arguments, environment=None, **options):
        """Run the command line in a new process and return the completed process."""
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=environment or self.environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
            **options,
        )

    def kib_on_a_full_disk(self, size, *arguments):
        """Run the command line in a new process in which no file can grow beyond `size` bytes."""
        import resource

        # Coverage itself would fail, and Python would cut off the compiled modules that later processes read.
        environment = {name: value for name, value in self.environment.items() if not name.startswith("COV")}
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
        full = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, size))
        return self.kib(*arguments, environment=environment, preexec_fn=full)

    def kib_without_reader(self, *arguments):
        """Run the command line with standard output as a pipe whose reader has exited; return the completed process."""
        reader, writer = os.pipe()
        os.close(reader)
        try:
            return subprocess.run(
                self.command(*arguments),
                cwd=self.folder,
                env=self.environment,
                stdout=writer,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                check=False,
            )
        finally:
            os.close(writer)

    def start(self, *arguments):
        """Start the command line in a new process and return the process, with its standard error as a pipe."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            # If tests run in the background, their child processes would ignore Ctrl-C without this line.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads are held
        )

    @staticmethod
    def command(*arguments):
        """Return the command line that calls the installed `kib` script with these arguments."""
        return [str(Path(sys.executable).with_name("kib")), *map(str, arguments)]

    def call(self, *arguments):
        """Run the command line in this process and return click's result; unexpected errors are raised."""
        from kib.cli import main

        before = Path.cwd()
        handler = signal.getsignal(signal.SIGTERM)
        os.chdir(self.folder)
        try:
            result = CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="kib")
        finally:
            os.chdir(before)
            signal.signal(signal.SIGTERM, handler)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def files(self, *left_out):
        """Return the contents of the results folder, keyed by path, excluding lock and owner files."""
        root = self.results.folder
        found = (path for path in sorted(root.rglob("*")) if path.is_file())
        return {
            path.relative_to(root).as_posix(): path.read_bytes()
            for path in found
            if path.name not in (".lock", ".owner.json", *left_out)
        }


@pytest.fixture
def bench(tmp_path, toybox):
    """Return an empty benchmark folder with the toy plugins installed."""
    return make_bench(tmp_path, toybox)


def make_bench(folder, site):
    """Return a benchmark folder with the plugins in `site` and without network access."""
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("KIB_", "HF_"))},
        "PYTHONPATH": str(site),
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(folder / "hub"),
        "COLUMNS": "120",
        "PYTHONWARNINGS": "ignore",
    }
    return Bench(folder, environment)


@pytest.fixture(scope="session")
def new_bench(toys):
    """Return a function that creates a benchmark folder."""
    return lambda folder: make_bench(folder, toys)


@pytest.fixture(scope="session")
def data():
    """Return the folder of real data; if the folder is missing, skip the test with instructions."""
    folder = Path(os.environ.get("KIB_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "mmlu").is_dir():
        pytest.skip(f"no real data in {folder}; name their folder by the environment variable KIB_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def gemma():
    """Return the folder of a real pretrained model, Gemma 3 270M; if the folder is missing, skip the test."""
    folder = os.environ.get("KIB_TEST_GEMMA", "")
    if not folder or not (Path(folder) / "model.safetensors").is_file():
        pytest.skip(f"no Gemma 3 270M in {folder or 'any folder'}; set KIB_TEST_GEMMA to its transformers folder")
    return Path(folder)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """Return the transformers folder of a tiny Llama with random weights, a byte tokenizer and a chat template."""
    if importlib.util.find_spec("torch") is None:
        pytest.skip("needs torch")
    from kib.testing import make_tiny_model

    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


def pytest_configure():
    """Fix the table width, so that tables are identical in this process and in processes started by tests."""
    os.environ["COLUMNS"] = "120"
