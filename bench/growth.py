"""Count the tokens that a model must read as questions, shots and passages grow in number, and print one table.

The cost of a run grows with these token counts. lm-eval's `hf` backend reads each prompt once per option, but only once
for all one-token options together. kib reads each distinct prompt prefix once. The script does not run a model.
Usage: python bench/growth.py --data FOLDER [--json FILE]
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import command
import material

from kib.harness.backends import quiet
from kib.harness.requests import batches
from kib.records import Request

SIZES = (25, 50, 135)
SHOTS = range(6)
K = range(6)


def counts(lm: Any, requests: Sequence[Request]) -> tuple[int, int]:
    """Return the number of tokens that lm-eval's hf reads at batch size 1, and that kib reads with shared prefixes."""
    batches(requests, lm)
    plan = lm.planned("loglikelihood")
    prefixes = {id(prefix): len(prefix.tokens) for row in plan.rows if row.prefix for prefix in row.prefix.lineage}
    return int(plan.prompts.lengths.sum()), sum(row.new_tokens for row in plan.rows) + sum(prefixes.values())


def anatomy(lm: Any, data: Path) -> dict[str, tuple[int, int]]:
    """Count tokens for MMLU anatomy with letters as answers, by number of shots and by number of questions."""
    rendered_task = material.anatomy(data)
    found = {}
    for shots in SHOTS:
        asked = rendered_task.ask(shots)
        found[f"anatomy, letters, {shots}-shot, 135 questions"] = counts(
            lm, _requests(rendered_task, asked, len(asked))
        )
    for size in SIZES:
        found[f"anatomy, letters, 5-shot, {size} questions"] = counts(lm, _requests(rendered_task, asked, size))
    return found


def _requests(rendered_task: Any, asked: Sequence[Any], count: int) -> list[Request]:
    return material.requests(rendered_task, asked[:count], [[]] * count)


def openbook(lm: Any, data: Path) -> dict[str, tuple[int, int]]:
    """Count tokens for OpenBookQA with option texts as answers, summed over all numbers of passages from 0 to K."""
    rendered_task = material.openbook(data)
    asked = rendered_task.ask(0)
    passages = {passage.id: passage for passage in material.facts(data)}
    hits = material.search(asked, list(passages.values()), max(K))
    requests: list[Request] = []
    found = {}
    for k in K:
        requests += material.requests(
            rendered_task, asked, [[passages[hit.passage] for hit in some[:k]] for some in hits]
        )
        found[f"OpenBookQA, texts, K = 0..{k}, 500 questions"] = counts(lm, requests)
    return found


def scorer(data: Path, folder: Path) -> Any:
    """Create a scorer with a minimal model; only the scorer's tokenizer and its batch plan are used."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from kib_hf.scoring.scorer import Scorer

    config = LlamaConfig(
        vocab_size=material.WORDS, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    return Scorer(LlamaForCausalLM(config).eval(), tokenizer=str(material.tokenizer(data, folder)))


def main() -> None:
    """Count tokens and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=command.folder, required=True, help="folder that contains mmlu, openbookqa and wikipedia"
    )
    parser.add_argument("--work", type=Path, help="folder for the trained tokenizer (default: a temporary folder)")
    parser.add_argument("--json", type=Path, help="JSON file to write the results to")
    arguments = parser.parse_args()
    quiet()
    with tempfile.TemporaryDirectory() as folder:
        lm = scorer(arguments.data, arguments.work or Path(folder))
    found = anatomy(lm, arguments.data) | openbook(lm, arguments.data)
    print(f"{'tokens read':<46}{'lm-eval hf':>12}{'kib':>12}{'less':>8}")
    for name, (plain, mine) in found.items():
        print(f"{name:<46}{plain:>12,}{mine:>12,}{plain / mine:>8.2f}")
    if arguments.json:
        figures = {name: {"lm-eval": plain, "kib": mine} for name, (plain, mine) in found.items()}
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
