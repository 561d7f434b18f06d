"""Small sets in the official formats."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

MILL = "The mill was built in 1704. Its wheel is made of oak."
POND = "The pond is nine feet deep."

SQUAD = {
    "version": "1.1",
    "data": [
        {
            "title": "Old_Mill",
            "paragraphs": [
                {
                    "context": MILL,
                    "qas": [
                        {
                            "id": "m1",
                            "question": " When was the mill built?",
                            "answers": [
                                {"text": "1704", "answer_start": 22},
                                {"text": "in 1704", "answer_start": 19},
                                {"text": "1704", "answer_start": 22},
                            ],
                        },
                        {"id": "m2", "question": "Who built it?", "answers": [], "is_impossible": True},
                    ],
                },
                {
                    "context": POND,
                    "qas": [
                        {"id": "p1", "question": "How deep?", "answers": [{"text": "nine feet", "answer_start": 12}]}
                    ],
                },
            ],
        }
    ],
}

HOTPOT = [
    {
        "_id": "h1",
        "question": "Is the mill older than the pond?",
        "answer": "yes",
        "type": "comparison",
        "level": "hard",
        "supporting_facts": [["Mill", 1], ["Pond", 0]],
        "context": [["Mill", ["The mill is old.", " It dates from 1704."]], ["Pond", ["The pond dates from 1890."]]],
    },
    {
        "_id": "h2",
        "question": "Where is the pond?",
        "answer": "Ulm",
        "type": "bridge",
        "level": "easy",
        "supporting_facts": [["Pond", 7], ["Elsewhere", 0]],
        "context": [["Pond", ["The pond dates from 1890."]], ["Ferry", ["The ferry leaves at noon."]]],
    },
]

COUNTERFACT = [
    {
        "case_id": 7,
        "pararel_idx": 1,
        "requested_rewrite": {
            "prompt": "The mother tongue of {} is",
            "relation_id": "P103",
            "target_new": {"str": "English", "id": "Q1860"},
            "target_true": {"str": "French", "id": "Q150"},
            "subject": "Danielle Darrieux",
        },
        "paraphrase_prompts": ["Nothing happened. Danielle Darrieux spoke", "Danielle Darrieux, a native"],
        "neighborhood_prompts": ["The mother tongue of Léon Blum is"],
        "attribute_prompts": ["The mother tongue of Douglas Adams is"],
        "generation_prompts": ["Danielle Darrieux's mother tongue is"],
    }
]

POPQA_COLUMNS = [
    *("id", "subj", "prop", "obj", "subj_id", "prop_id", "obj_id", "s_aliases", "o_aliases", "s_uri", "o_uri"),
    *("s_wiki_title", "o_wiki_title", "s_pop", "o_pop", "question", "possible_answers"),
]

POPQA = [
    [
        *("4222362", "George Rankin", "occupation", "politician", "1850297", "22", "2834605", "[]", "[]", "u", "v"),
        *("George Rankin", "Politician", "142", "25692", "What is George Rankin's occupation?"),
        '"[""politician"", ""political leader""]"',
    ],
    [
        *("1", "Ada", "occupation", "miller", "2", "22", "3", "[]", "[]", "u", "v", "Ada (miller)", "Miller", "9000"),
        *("5", "What is Ada's occupation?", '"[""miller""]"'),
    ],
]

CONTENT = {
    "squad": json.dumps(SQUAD),
    "hotpotqa": json.dumps(HOTPOT),
    "counterfact": json.dumps(COUNTERFACT),
    "popqa": "".join("\t".join(row) + "\n" for row in [POPQA_COLUMNS, *POPQA]),
}
"""The content of one small file of each set."""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a small set, or other content, to a file."""

    def save(name: str, content: Any = None, file: str = "set") -> Path:
        text = CONTENT["squad" if name == "xquad" else name] if content is None else content
        path = tmp_path / file
        path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
        return path

    return save
