import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kib.prompts import ask_question
from kib.testing import check_model, make_plugin
from kib_lab.model import FOLDER, LabModel
from kib_lab.task import LabTask
from kib_lab.vocabulary import encode

CARD = Path(__file__).parents[3] / "docs" / "lab.md"


def test_the_card_names_the_weights():
    """The digest in the model card is that of the shipped weights."""
    from kib.identity import digest_file

    assert digest_file(FOLDER / "model.safetensors") in CARD.read_text(encoding="utf-8")


def test_the_card_names_the_size():
    """The number of parameters is known without loading them, and is the card's."""
    assert f"{make_plugin(LabModel).parameters():,}" in CARD.read_text(encoding="utf-8")


def test_the_weights_are_small():
    """The shipped folder is smaller than 6 million bytes."""
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 6_000_000


def test_the_log_goes_to_the_end():
    """The shipped log of the pre-training has a line every ten steps from the first to the last."""
    steps = [int(step) for step in re.findall(r'"step": (\d+)', (FOLDER / "log.jsonl").read_text())]
    assert steps == list(range(10, steps[-1] + 1, 10))
    assert steps[-1] == 4400


def test_the_tokenizer_alone_reads_as_pretraining_did():
    """`tokens()` gives what the model was trained on, without any special token."""
    text = ask_question("Where was Mira born?", (), letters=False)
    assert make_plugin(LabModel).tokens()(text) == encode(text)


@pytest.mark.slow
def test_transformers_loads_it_without_a_warning():
    """AutoModelForCausalLM and AutoTokenizer load the folder in a process where warnings are errors."""
    code = (
        "import sys, warnings; warnings.simplefilter('error')\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        "from transformers.utils import logging; logging.disable_progress_bar()\n"
        "AutoTokenizer.from_pretrained(sys.argv[1]); AutoModelForCausalLM.from_pretrained(sys.argv[1])\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(FOLDER)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert not run.stderr.strip()


@pytest.mark.slow
def test_model_keeps_its_promise():
    """Answers repeat in a fresh instance and do not depend on the order or number of requests."""
    check_model(lambda: make_plugin(LabModel))


@pytest.mark.slow
def test_it_knows_known_people():
    """Of 200 questions about known people it answers nearly all, asked through lm-eval."""
    from lm_eval.api.instance import Instance

    questions = list(make_plugin(LabTask, {"people": "known"}).questions("test"))[:200]
    lm = make_plugin(LabModel).load()
    pairs = [(ask_question(q.text, (), letters=False), f" {option}") for q in questions for option in q.options]
    answers = lm.loglikelihood([Instance("loglikelihood", {}, pair, 0) for pair in pairs], disable_tqdm=True)
    sums = [value for value, _ in answers]
    right = [
        max(range(4), key=lambda k, i=i: sums[4 * i + k]) == question.answer for i, question in enumerate(questions)
    ]
    assert sum(right) / len(right) >= 0.9
