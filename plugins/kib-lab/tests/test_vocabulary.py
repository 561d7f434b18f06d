import json

import pytest

from kib.prompts import build_prompt
from kib.records import Passage, RenderedQuestion
from kib_lab.corpus import CorpusOptions, LabCorpus
from kib_lab.vocabulary import encode, split, vocabulary, write_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder that contains the files of a newly written tokenizer."""
    written = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(written)
    return written


@pytest.fixture(scope="module")
def tokenizer(folder):
    """Return the newly written tokenizer, loaded from its folder."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def prompt():
    """Return a prompt with four passages."""
    documents = list(LabCorpus(CorpusOptions(people="new", count=40)).documents())[38:42]
    passages = [Passage(d.id, d.id, d.title, d.text, 0, len(d.text)) for d in documents]
    ask = f"Question: Where was {documents[0].title} born?\nAnswer:"
    return build_prompt(RenderedQuestion("q", "", ask, ""), passages).text


def test_tokenizer_file(tokenizer, prompt):
    """The tokenizer in tokenizer.json produces the token ids used in pre-training, for prompts and for other texts."""
    for text in (prompt, "  Ünlike, text:\r\n\twith 3 odd_things—and `marks`. ", ""):
        assert tokenizer.encode(text).ids == encode(text)


def test_decoding(tokenizer, prompt):
    """Decoding the token ids of a prompt returns exactly the prompt."""
    assert tokenizer.decode(tokenizer.encode(prompt).ids) == prompt


def test_newline():
    """A newline is a separate token in the lab's vocabulary."""
    assert split("a\n\nb c") == ["a", "\n", "\n", "b", "c"]


def test_included_tokenizer(folder):
    """The bundled tokenizer files have the same content as newly written tokenizer files."""
    from kib_lab.model import FOLDER

    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert json.loads((FOLDER / name).read_text()) == json.loads((folder / name).read_text())
    assert json.loads((FOLDER / "config.json").read_text())["vocab_size"] == len(vocabulary())
