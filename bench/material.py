"""Questions, passages and texts for the other scripts, read from a folder with MMLU, OpenBookQA and Wikipedia text."""

import bz2
import io
import json
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kib.harness.tasks import RenderedTask, from_questions
from kib.prompts import build_prompt
from kib.records import Hit, Passage, Query, Question, RenderedQuestion, Request

__all__ = ["anatomy", "facts", "openbook", "requests", "search", "tokenizer"]

OPENBOOK = "OpenBookQA-V1-Sep2018/Data/Main"
WORDS = 32_000


def anatomy(data: Path, limit: int | None = None, task: str = "mmlu_anatomy") -> RenderedTask:
    """Return MMLU anatomy as rendered by lm-eval; `mmlu_anatomy_continuation` scores texts instead of letters."""
    from kib.plugins.builtin.lm_eval_task import LmEvalTask

    files = {split: str(data / "mmlu" / split / f"anatomy_{split}.csv") for split in ("dev", "test")}
    options = {"task": task, "data": {**files, "layout": "mmlu"}}
    made = LmEvalTask(LmEvalTask.Options.model_validate_json(json.dumps(options)))
    return RenderedTask("anatomy", made.harness_task(), limit=limit)


def openbook(data: Path, limit: int | None = None) -> RenderedTask:
    """Return the test questions of OpenBookQA in the variant that scores option texts."""
    lines = _openbook(data, "test.jsonl").splitlines()
    questions = [_question(json.loads(line)) for line in lines if line.strip()]
    return from_questions("openbook", questions, [], "text", limit)


def _question(row: dict[str, Any]) -> Question:
    choices = row["question"]["choices"]
    labels = [choice["label"] for choice in choices]
    texts = tuple(choice["text"] for choice in choices)
    return Question(row["id"], row["question"]["stem"], texts, labels.index(row["answerKey"]))


def facts(data: Path) -> list[Passage]:
    """Return the science facts of OpenBookQA, one passage per fact."""
    texts = [line.strip().strip('"') for line in _openbook(data, "openbook.txt").splitlines() if line.strip()]
    return [Passage(f"fact-{number}#0", f"fact-{number}", "", text, 0, len(text)) for number, text in enumerate(texts)]


def _openbook(data: Path, name: str) -> str:
    with zipfile.ZipFile(data / "openbookqa" / "OpenBookQA-V1-Sep2018.zip") as archive:
        return archive.read(f"{OPENBOOK}/{name}").decode("utf-8")


def search(asked: Sequence[RenderedQuestion], passages: Sequence[Passage], k: int) -> list[list[Hit]]:
    """Return the best `k` passages per question, found by BM25."""
    from kib_bm25 import BM25, BM25Options

    retriever = BM25(BM25Options())
    with tempfile.TemporaryDirectory() as folder:
        retriever.build(passages, Path(folder))
        return retriever.search(Path(folder), [Query(one.question_id, one.query) for one in asked], k)


def requests(
    rendered_task: RenderedTask, asked: Sequence[RenderedQuestion], passages: Sequence[Sequence[Passage]]
) -> list[Request]:
    """Return the requests for all questions in order; each prompt contains the question's own passages."""
    made: list[Request] = []
    for number, (one, some) in enumerate(zip(asked, passages, strict=True)):
        made += rendered_task.requests(number, build_prompt(one, some).text)
    return made


def tokenizer(data: Path, folder: Path) -> Path:
    """Return a folder with a byte-level BPE tokenizer of 32,000 tokens, trained on Wikipedia text if it is missing."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    if (folder / "tokenizer.json").is_file():
        return folder
    text = bz2.decompress((data / "wikipedia" / "enwiki-fragment.xml.bz2").read_bytes()).decode("utf-8")
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=WORDS,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(io.StringIO(text), trainer)
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    marks = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=made, **marks).save_pretrained(folder)
    return folder
