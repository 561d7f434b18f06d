import re
import warnings
from pathlib import Path

from kib.identity import digest_file
from kib.prompts import ask_question
from kib.testing import check_model, make_plugin
from kib_lab.model import FOLDER, LabModel
from kib_lab.task import LabTask
from kib_lab.vocabulary import encode

CARD = Path(__file__).parents[3] / "docs" / "lab.md"


def test_model_card():
    """The model card states the digest of the weights and the number of parameters."""
    card = CARD.read_text(encoding="utf-8")
    assert digest_file(FOLDER / "model.safetensors") in card
    assert f"{make_plugin(LabModel).parameters():,}" in card


def test_size():
    """The bundled model files are smaller than 6 MB in total."""
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 6_000_000


def test_log():
    """The bundled pre-training log has one line per ten steps, up to the last step."""
    steps = [int(step) for step in re.findall(r'"step": (\d+)', (FOLDER / "log.jsonl").read_text())]
    assert steps == list(range(10, 4401, 10))


def test_tokens():
    """The function that `tokens()` returns produces the token ids used in pre-training, without special tokens."""
    text = ask_question("Where was Mira born?", (), letters=False)
    assert make_plugin(LabModel).tokens()(text) == encode(text)


def test_transformers_loads_the_folder(capfd):
    """AutoModelForCausalLM and AutoTokenizer load the bundled model folder without any warning."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        AutoTokenizer.from_pretrained(FOLDER)
        AutoModelForCausalLM.from_pretrained(FOLDER)
    logging.enable_progress_bar()
    assert not capfd.readouterr().err


def test_contract():
    """The model plugin `lab` satisfies the contract for model plugins."""
    check_model(lambda: make_plugin(LabModel))


def test_known_people():
    """The bundled model answers at least 90 of 100 questions about known people correctly."""
    from lm_eval.api.instance import Instance

    questions = list(make_plugin(LabTask, {"people": "known"}).questions("test"))[:100]
    lm = make_plugin(LabModel).load()
    requests = [
        Instance("loglikelihood", {}, (ask_question(question.text, (), letters=False), f" {option}"), 0)
        for question in questions
        for option in question.options
    ]
    logprobs = [logprob for logprob, _ in lm.loglikelihood(requests, disable_tqdm=True)]
    right = [
        max(range(4), key=lambda option, i=i: logprobs[4 * i + option]) == question.answer
        for i, question in enumerate(questions)
    ]
    assert sum(right) >= 90


def test_open_questions_are_answered_with_one_word():
    """Without options, the bundled model writes the answer of a known person's question as one word, and then stops."""
    from lm_eval.api.instance import Instance

    questions = list(make_plugin(LabTask, {"people": "known"}).questions("test"))[:30]
    settings = {"until": ["Question:"], "max_gen_toks": 4, "do_sample": False}
    prompts = [ask_question(question.text, (), letters=False) for question in questions]
    requests = [Instance("generate_until", {}, (prompt, settings), 0) for prompt in prompts]
    outputs = make_plugin(LabModel).load().generate_until(requests, disable_tqdm=True)
    assert [output.split() for output in outputs] == [list(question.correct) for question in questions]
