from typing import Any

import pytest
from pydantic import ValidationError

from kib.interfaces import PaidWriter, QuestionWriter, SelectiveWriter, Writer
from kib.spec.options import identity_options
from kib.testing import PASSAGES, check_options, check_plugin, check_recipients, make_plugin
from kib_openai.prompts import PARAPHRASES
from kib_openai.writer import OpenAIWriter


def test_installed() -> None:
    """The entry point loads a well-formed plugin that imports no large packages."""
    assert check_plugin("writers", "openai") is OpenAIWriter


def test_protocols() -> None:
    """The writer implements the protocols for texts, questions, costs and the selection of kinds of text."""
    writer = make_plugin(OpenAIWriter, {"model": "m"})
    assert isinstance(writer, Writer)
    assert isinstance(writer, QuestionWriter)
    assert isinstance(writer, PaidWriter)
    assert isinstance(writer, SelectiveWriter)


def test_options() -> None:
    """Every option has a description, and invalid values are rejected."""
    check_options(
        OpenAIWriter,
        accepts=[
            {"model": "m"},
            {"model": "m", "base_url": "http://localhost:8000/v1/", "api_key_env": "", "extra": {"top_p": 0.9}},
            {"model": "m", "prompts": {"pairs": "{{ passage.text }} {{ count }}"}, "token_budget": 1000},
            {"model": "m", "kind": "pairs", "pair_options": 2},
        ],
        refuses=[
            {},
            {"model": ""},
            {"model": "m", "base_url": "localhost:8000"},
            {"model": "m", "base_url": "https://key@example.org/v1"},
            {"model": "m", "base_url": "https://example.org/v1?key=1"},
            {"model": "m", "base_url": "http://localhost:99999/v1"},
            {"model": "m", "base_url": "http://localhost:0/v1"},
            {"model": "m", "base_url": "http://a\x01b/v1"},
            {"model": "m", "api_key_env": "sk-0815"},
            {"model": "m", "kind": "songs"},
            {"model": "m", "per_call": 0},
            {"model": "m", "kind": "pairs", "pair_options": 1},
            {"model": "m", "kind": "pairs", "pair_options": 27},
            {"model": "m", "pair_options": 4},
            {"model": "m", "temperature": "1"},
            {"model": "m", "extra": {"messages": []}},
            {"model": "m", "prompts": {"pairs": "{{ passage.text"}},
            {"model": "m", "prompts": {"pairs": "{{ passage.text }} {{ number }}"}},
            {"model": "m", "prompts": {"pairs": "write {{ count }} pairs"}},
            {"model": "m", "token_budget": 0},
        ],
    )


def test_a_prompt_without_the_passage() -> None:
    """A prompt without the passage raises an error that states the missing template expression."""
    with pytest.raises(ValidationError, match=r"\{\{ passage.text \}\}"):
        make_plugin(OpenAIWriter, {"model": "m", "prompts": {"paraphrases": "Write!"}})


def test_identity() -> None:
    """Model, prompts and sampling options are part of a writer's identity, but URL, key, retries and budget are not."""
    options: dict[str, Any] = {"model": "m", "base_url": "http://here/v1", "api_key_env": "HERE", "timeout": 9.0}
    identity = identity_options(make_plugin(OpenAIWriter, options).options)
    local = {"base_url", "api_key_env", "timeout", "retries", "attempts", "concurrency", "token_budget"}
    assert not (local | {"max_tokens_field"}) & set(identity)
    assert identity["model"] == "m"
    assert identity["prompts"]["paraphrases"] == PARAPHRASES
    assert "HERE" not in str(identity)
    assert "here" not in str(identity).replace("where", "")


def test_identity_of_pairs_with_options() -> None:
    """The number of options belongs to the identity; a writer of open pairs keeps the identity that it always had."""
    pairs, four = ({"model": "m", "kind": "pairs", **more} for more in ({}, {"pair_options": 4}))
    open_pairs, with_options = (
        identity_options(make_plugin(OpenAIWriter, options).options) for options in (pairs, four)
    )
    assert "pair_options" not in open_pairs
    assert with_options == {**open_pairs, "pair_options": 4}


def test_recipients() -> None:
    """The writer lists its endpoint as a recipient and rejects a disallowed endpoint."""
    check_recipients(
        lambda address: make_plugin(OpenAIWriter, {"model": "m", "base_url": address, "api_key_env": ""}),
        lambda writer: list(writer.write(PASSAGES[:1], 1, 0, {})),
    )
