"""Question-answer pairs for training, in the form in which the tasks of a benchmark ask."""

import json
import shutil
from dataclasses import replace

import pytest
from conftest import TOY_PEOPLE, toy_questions

from kib.errors import SpecError
from kib.progress import SilentProgress
from kib.run.shared_steps import SharedSteps

QUESTIONS = [json.loads(line) for line in toy_questions(3).splitlines()]
for row in QUESTIONS:
    row["question"] = f"Say: {row['question']}"  # pairs that repeat a test question would be removed
PAIRS = [
    [row["document"], row["question"], row["options"]["ABCD".index(row["answer"])], row["options"]] for row in QUESTIONS
]
OPEN = [[*pair[:3], []] for pair in PAIRS]
TRAINED = """
[writers.quiz]
plugin = "toy"
pairs = {pairs}

[trainers.sft]
plugin = "{trainer}"
text = {{ writer = "quiz", kind = "pairs", originals = false{more} }}

[methods.sft]
train = "sft"
"""


def trained_on(pairs, *, trainer="toy", more=""):
    """Return the tables that train on pairs."""
    return TRAINED.format(pairs=json.dumps(pairs), trainer=trainer, more=more)


def texts_for_training(bench):
    """Return the plan, its steps and the texts that the trainer `sft` gets."""
    plan = bench.plan()
    steps = SharedSteps(plan, bench.work, SilentProgress())
    (weights,) = [weights for weights in plan.weights if weights.trainer]
    return plan, steps, steps.trainer_texts(weights, weights.text)


@pytest.fixture(scope="module")
def models(tiny_model, tmp_path_factory):
    """Return folders of tiny models: with a chat template, and with a template that writes the BOS token itself."""
    begun = shutil.copytree(tiny_model, tmp_path_factory.mktemp("models") / "begun")
    template = begun / "chat_template.jinja"
    template.write_text("<s>" + template.read_text())
    return {"": tiny_model, "own": tiny_model, "with BOS": begun}


@pytest.mark.parametrize("scoring", ["letter", "text", "text-norm", "contains"])
@pytest.mark.parametrize(
    ("chat", "bos"), [("", None), ("", True), ("", False), ("own", None), ("own", False), ("with BOS", None)]
)
def test_a_pair_has_the_tokens_of_its_question(bench, models, chat, bos, scoring):
    """A pair's tokens are those of the asked 0-shot prompt with its right answer, and only the answer has a loss."""
    from kib_hf.loading import load_tokenizer
    from kib_hf.trainers import FullOptions
    from kib_hf.training.examples import prepare_examples

    model = f'path = "{models[chat]}"\nchat_template = {"true" if chat else "false"}\n'
    model += "" if bos is None else f"add_bos_token = {str(bos).lower()}\n"

    def write(**options):
        bench.write_toy(model=model, task=f'scoring = "{scoring}"\n', **options)
        bench.spec.write_text(bench.spec.read_text().replace('[models.m]\nplugin = "toy"', '[models.m]\nplugin = "hf"'))

    write(more=trained_on(PAIRS))
    _, _, texts = texts_for_training(bench)
    write(questions="".join(json.dumps(row) + "\n" for row in QUESTIONS))
    plan, steps = bench.plan(), SharedSteps(bench.plan(), bench.work, SilentProgress())
    hf = plan.lock.get("models", "m").plugin
    tokenizer = load_tokenizer(models[chat], trust_remote_code=False, add_bos_token=None)
    examples = prepare_examples(texts.training, hf.weights(), FullOptions(block=512))
    (cell,) = [cell for cell in plan.cells if cell.cell.place == "m/base/people,0-shot"]
    asked, tokens = steps.prepared(cell), hf.tokens()
    for row, requests, example in zip(QUESTIONS, asked.requests, examples, strict=True):
        right = "ABCD".index(row["answer"])
        if scoring == "contains":  # the answer is generated, and its options are not shown
            prompt, answer = requests[0].arguments[0], ("" if chat else " ") + row["options"][right]
        else:
            prompt, answer = requests[right].arguments
        assert list(example.tokens) == [*tokens(prompt + answer), tokenizer.eos_token_id]
        assert example.loss_tokens == len(answer.encode()) + 1
        assert example.tokens[:2].count(tokenizer.bos_token_id) == (bos is not False or chat == "with BOS")
    assert texts.open_pairs == 0


def test_plain_pairs_are_trained_as_before(bench):
    """Without letters and a chat template, the text, the identities and the stored lines of pairs have not changed."""
    bench.write_toy(model="trainable = true\n", more=trained_on(OPEN))
    plan, _, texts = texts_for_training(bench)
    (weights,) = [weights for weights in plan.weights if weights.trainer]
    assert weights.pairs.identity is None
    for text in texts.training:
        assert (text.prompt, text.target) == (f"Question: {text.text}\nAnswer:", f" {text.answer}")
    (path,) = (bench.folder / "work" / "text").glob("*/text.jsonl")
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert all(line.keys() == {"passage", "kind", "text", "answer"} for line in lines)


def test_the_form_belongs_to_the_identity(bench):
    """Weights trained in the form of letters are different weights, although the stored text is the same."""
    found = []
    for scoring in ("text", "text-norm", "letter"):
        bench.write_toy(model="trainable = true\n", task=f'scoring = "{scoring}"\n', more=trained_on(PAIRS))
        found += [weights for weights in bench.plan().weights if weights.trainer]
    text, norm, letter = found
    assert text.identity == norm.identity != letter.identity
    assert text.text.identity == letter.text.identity


def test_pairs_without_options(bench):
    """If a task asks by letters, pairs without options are trained as open questions, and the table says so."""
    bench.write_toy(model="trainable = true\n", task='scoring = "letter"\n', more=trained_on([PAIRS[0], *OPEN[1:]]))
    _, _, texts = texts_for_training(bench)
    with_options, *others = texts.training
    letter = QUESTIONS[0]["answer"]
    assert with_options.prompt.endswith(f"\nD. {PAIRS[0][3][3]}\nAnswer:")
    assert with_options.target == f" {letter}"
    assert [text.prompt for text in others] == [f"Question: {pair[1]}\nAnswer:" for pair in OPEN[1:]]
    assert texts.open_pairs == 2
    assert bench.run() == {}
    assert bench.results.cell(bench.cells()["m/sft/people,0-shot"]).training.open_pairs == 2
    table = bench.call("leaderboard", "--format", "markdown").output
    assert "open pairs (2)" in table
    assert "open pairs: the number of question-answer pairs that were trained as open questions" in " ".join(
        table.split()
    )


TWO_FORMS = """
[tasks.exam]
plugin = "file"
path = "people.jsonl"
corpus = "people"
scoring = "letter"
"""


def test_two_forms(bench):
    """If the trained tasks ask in two forms, the spec must say which form is trained; the error lists the tasks."""
    bench.write_toy(model="trainable = true\n", more=TWO_FORMS + trained_on(PAIRS))
    with pytest.raises(SpecError, match=r"ask in different forms, .* set `as_task` to exam or people"):
        bench.plan()
    bench.write_toy(model="trainable = true\n", more=TWO_FORMS + trained_on(PAIRS, more=', as_task = "exam"'))
    assert [text.target for text in texts_for_training(bench)[2].training] == [f" {row['answer']}" for row in QUESTIONS]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (', as_task = "exma"', r'expected a task declared in this file, got "exma"'),
        (', kind = "documents", as_task = "people"', '`as_task` needs `kind = "pairs"`'),
    ],
)
def test_wrong_task(bench, more, message):
    """An unknown task, and a form for text without pairs, are reported with their line."""
    text = trained_on(PAIRS, more=more)
    if "documents" in more:
        text = text.replace(', kind = "pairs"', "")
    bench.write_toy(model="trainable = true\n", more=text)
    with pytest.raises(SpecError, match=message):
        bench.plan()


@pytest.mark.parametrize("options", [["Wells", "Tarn"], ["Norwick", "Norwick"]])
def test_wrong_options(bench, options):
    """A pair whose options do not contain the answer exactly once is rejected with the name of the writer."""
    bench.write_toy(model="trainable = true\n", more=trained_on([["ada", "Where does Ada live?", "Norwick", options]]))
    (failure,) = set(bench.run().values())
    assert "writers.quiz: returned a pair about passage ada#0 with the options" in failure.error
    assert "expected the answer 'Norwick' exactly once among the options" in failure.error


def test_small_change_of_weights(bench, monkeypatch):
    """A small change of the weights is printed with its first significant digits instead of as 0."""
    from kib_toys import ToyTrainer

    train = ToyTrainer.train
    monkeypatch.setattr(ToyTrainer, "train", lambda *given: replace(train(*given), change=1.6e-5))
    bench.write_toy(model="trainable = true\n", more=trained_on(OPEN))
    assert bench.run() == {}
    assert "weights changed by 0.0016 %" in bench.call("show", "m/sft/people,0-shot").output


def test_few_steps(bench):
    """An arm with fewer than ten optimizer steps is marked as hardly trained, with the number of steps."""
    bench.write_toy(model="trainable = true\n", more=trained_on(OPEN))
    assert len(TOY_PEOPLE) < 10
    assert bench.run() == {}
    assert "hardly trained (steps: 3)" in bench.call("leaderboard", "--format", "markdown").output


EXAM = """
[tasks.exam]
plugin = "lm-eval"
task = "{name}"
data = {{ {split} = "{file}"{layout} }}
corpus = "people"
"""
MMLU = "".join(f'"Who is {name}?",a {name},b,c,d,A\n' for name in ("Ada", "Ben", "Cem"))
HELLASWAG = [
    {"ind": 0, "activity_label": "Rain", "ctx_a": f"It {verb}.", "ctx_b": "she", "endings": list("wxyz"), "label": "1"}
    for verb in ("rains", "snows", "hails")
]
TASKS = {
    "mmlu_anatomy": ("test", "exam.csv", ', layout = "mmlu"', MMLU),
    "hellaswag": ("validation", "exam.jsonl", "", "".join(json.dumps(row) + "\n" for row in HELLASWAG)),
}
ONLY_FOUR = (
    "trainer sft: only question-answer pairs with 4 options can have the form of this task; all other pairs are "
    "trained as open"
)
NONE = (
    "trainer sft: no question-answer pair can have the form of this task, because its prompts contain more than a "
    "question and its"
)
OTHER = "question-answer pairs of the trainer sft are trained in the form of the task people, not of this task"


def write_exam(bench, name, pairs, as_task):
    """Write the toy benchmark with a task of lm-eval about the corpus, and training on pairs."""
    split, file, layout, rows = TASKS[name]
    exam = EXAM.format(name=name, split=split, file=file, layout=layout)
    bench.write_toy(model="trainable = true\n", more=exam + trained_on(pairs, more=f', as_task = "{as_task}"'))
    (bench.folder / file).write_text(rows, encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "pairs", "as_task", "open_pairs", "checked", "noted"),
    [
        ("mmlu_anatomy", PAIRS, "exam", 0, ONLY_FOUR, ""),
        ("mmlu_anatomy", [PAIRS[0], *OPEN[1:]], "exam", 2, ONLY_FOUR, ONLY_FOUR),
        ("hellaswag", PAIRS, "exam", 3, NONE, NONE),
        ("hellaswag", PAIRS, "people", 0, OTHER, OTHER),
    ],
)
def test_pairs_beside_a_task_of_lm_eval(bench, name, pairs, as_task, open_pairs, checked, noted):
    """`kib check` and the table state which pairs cannot have the form of an lm-eval task, or have a different form."""
    write_exam(bench, name, pairs, as_task)
    text = bench.call("check", bench.spec, "-q").output
    assert f"tasks.exam: {checked}" in text
    assert (f"3 texts, {open_pairs} pairs as open questions" in text) == (open_pairs > 0)
    assert all(cell.startswith("m/oracle/exam,") for cell in bench.run())  # the questions of the exam have no gold
    table = " ".join(bench.call("leaderboard", "--format", "markdown").output.split())
    assert (f"exam: {noted or ONLY_FOUR}" in table) == bool(noted)
    assert (f"open pairs ({open_pairs})" in table) == (open_pairs > 0)
    _, _, texts = texts_for_training(bench)
    first = texts.training[0]
    if name == "mmlu_anatomy":
        assert first.prompt.endswith(
            f"{QUESTIONS[0]['question']}\nA. {PAIRS[0][3][0]}\nB. {PAIRS[0][3][1]}"
            f"\nC. {PAIRS[0][3][2]}\nD. {PAIRS[0][3][3]}\nAnswer:"
        )
        assert first.target == f" {QUESTIONS[0]['answer']}"
    else:
        assert first.prompt == f"Question: {QUESTIONS[0]['question']}\nAnswer:"


def test_pairs_in_the_form_of_a_different_task(bench):
    """If `as_task` selects one form, `kib check` and the table name the tasks that ask in a different form."""
    bench.write_toy(model="trainable = true\n", more=TWO_FORMS + trained_on(PAIRS, more=', as_task = "people"'))
    assert f"tasks.exam: {OTHER}" in bench.call("check", bench.spec, "-q").output
    assert bench.run() == {}
    table = " ".join(bench.call("leaderboard", "--format", "markdown").output.split())
    assert f"exam: {OTHER}" in table
    assert f"people: {OTHER}" not in table


def test_two_trainers_with_different_forms(bench):
    """A remark on the form of question-answer pairs names the trainer, so that two trainers never contradict."""
    second = trained_on(PAIRS, more=', as_task = "exam"').replace("sft", "letters").partition("[trainers.")
    both = trained_on(PAIRS, more=', as_task = "people"') + "\n[trainers." + second[2]
    bench.write_toy(model="trainable = true\n", more=TWO_FORMS + both)
    swapped = "question-answer pairs of the trainer letters are trained in the form of the task exam, not of this task"
    text = bench.call("check", bench.spec, "-q").output
    assert f"tasks.exam: {OTHER}\n" in text
    assert f"tasks.people: {swapped}\n" in text
    assert bench.run() == {}
    table = " ".join(bench.call("leaderboard", "--format", "markdown").output.split())
    assert f"exam: {OTHER}" in table
    assert f"people: {swapped}" in table
