import json

import pytest

from kib.prompts import build_prompt
from kib.records import Passage, RenderedQuestion
from kib_lab.corpus import CorpusOptions, LabCorpus
from kib_lab.vocabulary import encode, split, vocabulary, write_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    from tokenizers import Tokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def prompt():
    documents = list(LabCorpus(CorpusOptions(people="new", count=40)).documents())[38:42]
    passages = [Passage(d.id, d.id, d.title, d.text, 0, len(d.text)) for d in documents]
    ask = f"Question: Where was {documents[0].title} born?\nAnswer:"
    return build_prompt(RenderedQuestion("q", "", ask, ""), passages).text


def test_the_tokenizer_is_what_pretraining_used(tokenizer, prompt):
    """tokenizer.json gives the tokens of the pre-training, for kib's prompt and for text of any other kind."""
    for text in (prompt, "  Ünlike, text:\r\n\twith 3 odd_things—and `marks`. ", ""):
        assert tokenizer.encode(text).ids == encode(text)


def test_text_comes_back(tokenizer, prompt):
    """Decoding a prompt gives it back to the byte."""
    assert tokenizer.decode(tokenizer.encode(prompt).ids) == prompt


def test_a_newline_is_a_token():
    """The model sees where a line ends."""
    assert split("a\n\nb c") == ["a", "\n", "\n", "b", "c"]


def test_the_shipped_tokenizer_is_current(tmp_path):
    """The shipped tokenizer holds the vocabulary of the world as it is now."""
    from kib_lab.model import FOLDER

    write_tokenizer(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert json.loads((FOLDER / name).read_text()) == json.loads((tmp_path / name).read_text())
    assert json.loads((FOLDER / "config.json").read_text())["vocab_size"] == len(vocabulary())
