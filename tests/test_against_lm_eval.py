"""kib's base cells reproduce lm-eval's results for every question, and retrieval only adds passages."""

import csv
import json
import re
from pathlib import Path

import pytest

from kib.harness.backends import quiet
from kib.progress import SilentProgress
from kib.prompts import render_passages
from kib.run.shared_steps import SharedSteps

CLOSE = {"rel": 1e-5, "abs": 1e-4}
"""How far two log-probabilities in nats, computed in float32 in batches of different shapes, may differ.

The larger bound counts: sums of many tokens lose digits in proportion, small values in proportion to the logits.
"""


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """Block access to the Hugging Face Hub, and cache data sets in a folder of the test."""
    quiet()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Use one thread, because very small models run more slowly on several threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_json(path, rows):
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


class Alone:
    """Runs lm-eval without kib on a task file that includes the registered task and points to local data."""

    def __init__(self, folder, lm, task, files, **more):
        import lm_eval

        self.name = f"alone_{task}"
        self.folder = folder / self.name
        self.folder.mkdir(exist_ok=True)
        self.lm = lm
        included = Path(lm_eval.__file__).parent / "tasks" / f"{FOLDERS[task.partition('_')[0]]}/{task}.yaml"
        assert included.is_file()
        config = {
            "include": str(included),
            "task": self.name,
            "dataset_path": "json",
            "dataset_name": None,
            "dataset_kwargs": {"data_files": {split: str(path) for split, path in files.items()}},
            **more,
        }
        (self.folder / "task.yaml").write_text(json.dumps(config), encoding="utf-8")  # YAML holds JSON

    def samples(self, shots, **options):
        """Return lm-eval's record of each question and the results of the task."""
        from lm_eval import simple_evaluate
        from lm_eval.tasks import TaskManager

        manager = TaskManager(include_path=str(self.folder), include_defaults=False)
        found = simple_evaluate(
            model=self.lm,
            tasks=[self.name],
            num_fewshot=shots,
            log_samples=True,
            task_manager=manager,
            bootstrap_iters=0,
            **options,
        )
        return found["samples"][self.name], found["results"][self.name]


FOLDERS = {"mmlu": "mmlu/default", "arc": "arc", "gsm8k": "gsm8k"}
"""The folders of lm-eval's task files."""


def logprobs(sample):
    """Return the log-probabilities of the options in an lm-eval sample."""
    return [float(given[0]) for given in sample["filtered_resps"]]


def arguments(sample):
    """Return the requests that lm-eval sent for a question: [(context, continuation), …]."""
    return [tuple(some) for some in sample["arguments"]]


def prepared(bench, place):
    """Return the prompts and requests of a cell without calling a model."""
    plan = bench.plan()
    cell = next(cell for cell in plan.cells if cell.cell.place == place)
    return SharedSteps(plan, bench.work, SilentProgress()).prepared(cell)


def asked(cell):
    """Return the requests that kib sends for each question: [[(context, continuation), …], …]."""
    return [[request.arguments for request in some] for some in cell.requests]


def assert_same_numbers(scores, samples, results):
    """Fail unless every log-probability, every score and the accuracy equal lm-eval's values."""
    assert len(scores) == len(samples)
    for score, sample in zip(scores, samples, strict=True):
        assert score.logprobs == pytest.approx(logprobs(sample), **CLOSE), score.question_id
        assert score.score == sample["acc"], score.question_id
    assert sum(score.score for score in scores) / len(scores) == pytest.approx(results["acc,none"])


# On MMLU with a real model


MMLU_SPEC = """schema = 1
name = "mmlu"

[models.stories]
plugin = "hf"
path = "{model}"
max_length = 2048
batch_size = 8
device = "cpu"
dtype = "float32"

[tasks.{subject}]
plugin = "lm-eval"
task = "mmlu_{subject}"
data = {{ dev = "{dev}", test = "{test}", layout = "mmlu" }}
shots = [0, 5]
corpus = "facts"

[corpora.facts]
plugin = "toy"
documents = [
    ["sun", "The sun", "The sun is a star at the centre of the solar system."],
    ["bone", "", "The femur is the longest bone of the human body."],
    ["nerve", "Nerves", "Cranial nerves leave the brain, and the facial nerve moves the face."],
    ["planet", "Planets", "A planet that is far from the sun takes long for one orbit."],
]

[retrievers.words]
plugin = "toy"

[methods.base]
"""

RAG = '\n[methods.rag]\nretrieve = "words"\ntop_k = [1, 2]\n'


def mmlu_rows(path):
    """Return the rows of an MMLU CSV file, read without kib."""
    with path.open(encoding="utf-8", newline="") as file:
        return [{"question": r[0], "choices": r[1:5], "answer": "ABCD".index(r[5])} for r in csv.reader(file)]


@pytest.fixture(scope="module")
def stories(data):
    """A real model with 260,000 parameters, loaded by lm-eval without kib."""
    folder = data / "models" / "stories260K"
    if not folder.is_dir():
        pytest.skip(f"no model in {folder}")
    from lm_eval.models.huggingface import HFLM

    quiet()
    return HFLM(pretrained=str(folder), max_length=2048, batch_size=8, device="cpu", dtype="float32")


class Mmlu:
    """The first `count` questions of an MMLU subject, for kib and for lm-eval alone; None selects all questions."""

    def __init__(self, bench, data, folder, subject, count):
        self.bench, self.folder, self.subject = bench, folder, subject
        self.model = data / "models" / "stories260K"
        self.files = {split: data / "mmlu" / split / f"{subject}_{split}.csv" for split in ("dev", "test")}
        if count is not None:
            self.files["test"] = self._shortened(self.files["test"], count)

    def _shortened(self, path, count):
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))[:count]
        short = self.folder / path.name
        with short.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)
        return short

    def write(self, more=""):
        """Write the benchmark file."""
        return self.bench.write(MMLU_SPEC.format(model=self.model, subject=self.subject, **self.files) + more)

    def rows(self):
        """Return the selected questions, read without kib."""
        return mmlu_rows(self.files["test"])

    def alone(self, lm):
        """Return an lm-eval run without kib on the same questions."""
        files = {
            split: write_json(self.folder / f"{split}.json", mmlu_rows(path)) for split, path in self.files.items()
        }
        return Alone(self.folder, lm, f"mmlu_{self.subject}", files)


WHOLE = pytest.mark.nightly
SUBJECTS = [pytest.param(("anatomy", 24), id="anatomy-24")]
SUBJECTS += [pytest.param((name, None), id=name, marks=WHOLE) for name in ("anatomy", "astronomy")]


@pytest.fixture(params=SUBJECTS)
def mmlu(request, bench, data, tmp_path):
    """An MMLU subject, limited to a few questions except in the nightly run."""
    return Mmlu(bench, data, tmp_path, *request.param)


@pytest.mark.slow
def test_base_cells_of_mmlu_equal_lm_eval(mmlu, stories):
    """On each MMLU question, with 0 and 5 examples, kib sends the same requests and gets the same scores as lm-eval."""
    bench, alone = mmlu.write(), mmlu.alone(stories)
    assert bench.run() == {}
    for shots in (0, 5):
        place = f"stories/base/{mmlu.subject},{shots}-shot"
        samples, results = alone.samples(shots)
        assert asked(prepared(bench, place)) == [arguments(sample) for sample in samples]
        assert_same_numbers(bench.scores(place), samples, results)


@pytest.mark.slow
@pytest.mark.parametrize("shots", [0, 5])
def test_retrieval_only_adds_passages(mmlu, shots):
    """A prompt with passages is the base prompt with the passages inserted between the examples and the question."""
    bench, rows, subject = mmlu.write(RAG), mmlu.rows(), mmlu.subject
    base = prepared(bench, f"stories/base/{subject},{shots}-shot")
    texts = {
        passage.id: passage
        for passage in SharedSteps(bench.plan(), bench.work, SilentProgress()).passages(
            next(step.passages for step in bench.plan().hits)
        )
    }
    met = 0
    for k in (1, 2):
        rag = prepared(bench, f"stories/rag,k={k}/{subject},{shots}-shot")
        for row, one, other, some, base_some in zip(
            rows, base.prompts, rag.prompts, asked(rag), asked(base), strict=True
        ):
            shown = render_passages([texts[passage] for passage in other.passages])
            options = [f"{letter}. {option}" for letter, option in zip("ABCD", row["choices"], strict=True)]
            question = "\n".join([row["question"].strip(), *options, "Answer:"])
            assert one.text.endswith(question)
            assert other.text == one.text[: -len(question)] + shown + question
            assert [continuation for _, continuation in some] == [continuation for _, continuation in base_some]
            assert other.dropped == 0
            met += bool(other.passages)
    assert met > len(rows)


# Without data: a tiny model and a few questions


ROWS = [
    {
        "question": f"Which number follows {number}? Straße 桥",
        "choices": [str(number + step) for step in (2, 1, 3, 4)],
        "answer": 1,
    }
    for number in range(7)
]
DEV = [{"question": f"What is {n} + {n}?", "choices": ["1", "2", str(2 * n), "9"], "answer": 2} for n in range(3, 9)]

TINY_SPEC = """schema = 1
name = "tiny"

[models.tiny]
plugin = "hf"
path = "{model}"
device = "cpu"
batch_size = 4
chat_template = {chat}

[tasks.t]
plugin = "lm-eval"
task = "{task}"
data = {{ {splits} }}
shots = {shots}
{more}
[methods.base]
"""


@pytest.fixture(scope="module")
def tiny(tiny_model):
    """A tiny model, loaded by lm-eval without kib."""
    from lm_eval.models.huggingface import HFLM

    quiet()
    return HFLM(pretrained=str(tiny_model), batch_size=4, device="cpu")


def write_tiny(bench, model, task, files, shots, *, chat=False, more=""):
    """Write a benchmark that evaluates the tiny model on one lm-eval task with local files."""
    splits = ", ".join(f'{split} = "{path}"' for split, path in files.items())
    return bench.write(
        TINY_SPEC.format(model=model, task=task, splits=splits, shots=shots, chat=str(chat).lower(), more=more)
    )


@pytest.mark.parametrize(("chat", "shots"), [(False, 0), (True, 3)])
def test_a_base_cell_equals_lm_eval(bench, tmp_path, tiny, tiny_model, chat, shots):
    """With or without a chat template and examples, kib's requests and scores equal lm-eval's."""
    files = {"dev": write_json(tmp_path / "dev.json", DEV), "test": write_json(tmp_path / "test.json", ROWS)}
    write_tiny(bench, tiny_model, "mmlu_anatomy", files, [shots], chat=chat)
    assert bench.run() == {}
    place = f"tiny/base/t,{shots}-shot"
    samples, results = Alone(tmp_path, tiny, "mmlu_anatomy", files).samples(
        shots, apply_chat_template=chat, fewshot_as_multiturn=True
    )
    assert asked(prepared(bench, place)) == [arguments(sample) for sample in samples]
    assert_same_numbers(bench.scores(place), samples, results)
    contexts = [arguments(sample)[0][0] for sample in samples]
    assert all(("<|assistant|>" in context) == chat for context in contexts)
    assert all(context.count("Answer:") == shots + 1 for context in contexts)


@pytest.mark.slow
def test_sampled_examples_and_normalised_scores_equal_lm_eval(bench, tmp_path, tiny, tiny_model):
    """kib's randomly drawn examples and length-normalised scores equal those of lm-eval."""
    rows = [
        {
            "id": str(number),
            "question": row["question"],
            "choices": {
                "text": [f"it is {choice}" * (1 + n % 3) for n, choice in enumerate(row["choices"])],
                "label": list("ABCD"),
            },
            "answerKey": "ABCD"[number % 4],
        }
        for number, row in enumerate(ROWS)
    ]
    files = {split: write_json(tmp_path / f"{split}.json", rows) for split in ("train", "validation", "test")}
    write_tiny(bench, tiny_model, "arc_easy", files, [0, 2], more='metric = "acc_norm"\n')
    assert bench.run() == {}
    for shots in (0, 2):
        samples, _ = Alone(tmp_path, tiny, "arc_easy", files).samples(shots)
        scores = bench.scores(f"tiny/base/t,{shots}-shot")
        assert asked(prepared(bench, f"tiny/base/t,{shots}-shot")) == [arguments(sample) for sample in samples]
        assert [score.score for score in scores] == [sample["acc_norm"] for sample in samples]
        for score, sample in zip(scores, samples, strict=True):
            assert score.logprobs == pytest.approx(logprobs(sample), **CLOSE)


SUMS = [{"question": f"How much is {n} and {n}?", "answer": f"It is so.\n#### {2 * n}"} for n in range(2, 10)]


def writer():
    """Return a model that adds numbers, with some wrong answers and some that only one filter can extract."""
    from lm_eval.api.model import LM

    class Sums(LM):
        def generate_until(self, requests, disable_tqdm=False):
            return [self.said(int(re.findall(r"and (\d+)\?", request.args[0])[-1])) for request in requests]

        def said(self, number):
            right = 2 * number
            return (f" {right}.", f"so\n#### {right}", f"#### {right + 1}", f"The answer is ${right}")[number % 4]

        def loglikelihood(self, requests):
            raise NotImplementedError

        def loglikelihood_rolling(self, requests):
            raise NotImplementedError

    return Sums()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("metric", "name"),
    [
        (None, "strict-match"),
        ("exact_match,strict-match", "strict-match"),
        ("exact_match,flexible-extract", "flexible-extract"),
    ],
)
def test_generated_answers_score_as_in_lm_eval(tmp_path, metric, name):
    """Generated answers are filtered and scored with the selected filter, as in lm-eval."""
    from kib.harness.requests import answer
    from kib.harness.tasks import RenderedTask
    from kib.plugins.builtin.lm_eval_task import LmEvalTask
    from kib.testing import make_plugin

    files = {"train": write_json(tmp_path / "train.json", SUMS), "test": write_json(tmp_path / "test.json", SUMS)}
    samples, _ = Alone(tmp_path, writer(), "gsm8k", files).samples(2)
    samples = [sample for sample in samples if sample["filter"] == name]
    plugin = make_plugin(LmEvalTask, {"task": "gsm8k", "data": {key: str(path) for key, path in files.items()}})
    rendered_task = RenderedTask("sums", plugin.harness_task(), metric=metric)
    lm = writer()
    outcomes = []
    for number, (question, sample) in enumerate(zip(rendered_task.ask(2), samples, strict=True)):
        requests = rendered_task.requests(number, question.head + question.ask)
        assert [request.arguments for request in requests] == arguments(sample)
        outcomes.append(rendered_task.score(number, requests, answer(lm, requests)))
    assert [outcome.score for outcome in outcomes] == [sample["exact_match"] for sample in samples]
    assert {outcome.score for outcome in outcomes} == {0, 1}
    assert [outcome.output for outcome in outcomes] == [sample["resps"][0][0] for sample in samples]


@pytest.mark.slow
def test_text_that_a_model_generates_equals_lm_evals(bench, tmp_path, tiny, tiny_model):
    """A model generates the same text for kib and for lm-eval."""
    files = {split: write_json(tmp_path / f"{split}.json", SUMS[:2]) for split in ("train", "test")}
    write_tiny(bench, tiny_model, "gsm8k", files, [0])
    assert bench.run() == {}
    samples, _ = Alone(tmp_path, tiny, "gsm8k", files).samples(0)
    samples = [sample for sample in samples if sample["filter"] == "strict-match"]
    assert [score.output for score in bench.scores("tiny/base/t,0-shot")] == [s["resps"][0][0] for s in samples]


def test_the_users_own_questions_equal_an_lm_eval_task(tmp_path):
    """The user's own questions produce the same requests as an lm-eval task with the same wording."""
    from lm_eval.tasks import TaskManager

    from kib.harness.tasks import from_questions
    from kib.records import Question

    questions = [Question(f"q{n}", row["question"], tuple(row["choices"]), row["answer"]) for n, row in enumerate(ROWS)]
    examples = [Question(f"e{n}", row["question"], tuple(row["choices"]), row["answer"]) for n, row in enumerate(DEV)]
    files = {"train": write_json(tmp_path / "train.json", DEV), "test": write_json(tmp_path / "test.json", ROWS)}
    config = {
        "task": "own",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {split: str(path) for split, path in files.items()}},
        "output_type": "multiple_choice",
        "test_split": "test",
        "fewshot_split": "train",
        "fewshot_config": {"sampler": "first_n"},
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{answer}}",
    }
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "own.yaml").write_text(json.dumps(config), encoding="utf-8")
    task = TaskManager(include_path=str(tmp_path / "own"), include_defaults=False).load(["own"])["tasks"]["own"]
    rendered_task = from_questions("own", questions, examples, "text")
    for shots in (0, 2):
        task.set_config("num_fewshot", shots)
        task.build_all_requests()
        theirs = [instance.args for instance in task.instances]
        ours = [
            request.arguments
            for number, question in enumerate(rendered_task.ask(shots))
            for request in rendered_task.requests(number, question.head + question.ask)
        ]
        assert ours == theirs
