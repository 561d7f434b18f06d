import pytest
from pydantic import ValidationError

from kib.errors import InputError
from kib.records import Passage
from kib_lab.corpus import CorpusOptions, LabCorpus
from kib_lab.questions import KINDS, SPLITS
from kib_lab.task import LabTask, TaskOptions
from kib_lab.vocabulary import UNKNOWN, encode, vocabulary
from kib_lab.world import generate_world
from kib_lab.writer import LabWriter, WriterOptions, parse_passage


@pytest.fixture(scope="module")
def passages():
    """Return each document of a small world as one passage."""
    documents = LabCorpus(CorpusOptions(people="new", count=40)).documents()
    return [Passage(f"{d.id}#0", d.id, d.title, d.text, 0, len(d.text)) for d in documents]


def write(passages, count=5, seed=0, **options):
    """Return the texts of a lab writer as a list."""
    return list(LabWriter(WriterOptions(**options)).write(passages, count, seed, {}))


def test_parsing(passages):
    """The writer parses the subject and all facts from a passage's text."""
    world = generate_world("new", 40)
    entities = {entity.id: entity for entity in (*world.people, *world.employers.values())}
    for passage in passages:
        entity, sentences = parse_passage(passage)
        assert (entity.name, dict(entity.facts)) == (entities[passage.document].name, entities[passage.document].facts)
        assert " ".join(sentences.values()) == passage.text


@pytest.mark.parametrize(
    "options",
    [{}, {"reverse": True}, {"reorder": False}, {"reword": False}, {"reword": False, "reverse": True}],
    ids=str,
)
def test_paraphrases(passages, options):
    """A passage gets `count` different paraphrases, each with all of its facts and only words from the vocabulary."""
    people = [passage for passage in passages if "employer" not in passage.id]
    texts = write(people, **options)
    assert [text.passage for text in texts] == [passage.id for passage in people for _ in range(5)]
    assert {text.kind for text in texts} == {"paraphrase"}
    assert len({text.text for text in texts}) == len(texts)
    by_id = {passage.id: passage for passage in people}
    for text in texts:
        title, body = text.text.split("\n")
        assert title == by_id[text.passage].title
        assert body != by_id[text.passage].text
        assert all(value in body for value in parse_passage(by_id[text.passage])[0].facts.values())
        assert vocabulary()[UNKNOWN] not in encode(text.text)


def attributes(text):
    """Return the attributes stated in a paraphrase, in the order of its sentences."""
    return list(parse_passage(Passage("p", "p", "", body(text), 0, 1))[1])


def test_reword_and_reorder(passages):
    """If `reorder` is off, the facts keep their order, and if `reword` is off, the sentences keep their wording."""
    first = passages[:1]
    sentences = parse_passage(first[0])[1]
    assert all(attributes(text) == list(sentences) for text in write(first, reorder=False))
    for text in write(first, reword=False):
        assert {f"{line}." for line in body(text).rstrip(".").split(". ")} == set(sentences.values())


def test_reverse(passages):
    """With `reverse`, fewer sentences start with the person's name, and some start with profession and birthplace."""

    def share(**options):
        lines = [line for text in write(passages[:1], 10, **options) for line in body(text).split(". ")]
        return sum(line.startswith(passages[0].title) for line in lines) / len(lines)

    assert share(reword=False, reverse=True) < share(reword=False)
    reverse = [text.text for text in write(passages[:9], 9, reverse=True)]
    assert any(" is called " in text or " born in " in text for text in reverse)


def body(text):
    """Return a paraphrase without its title."""
    return text.text.split("\n")[1]


def test_pairs_are_never_test_questions(passages):
    """The question in a training pair never equals a test question, and its answer occurs in the passage."""
    pairs = [text for text in write(passages, 12, pairs=True) if text.kind == "pair"]
    questions = {
        question.text
        for kind in KINDS
        for split in SPLITS
        for question in LabTask(TaskOptions(people="new", count=40, kind=kind)).questions(split)
    }
    assert len(pairs) == 12 * len(passages)
    assert not {pair.text for pair in pairs} & questions
    by_id = {passage.id: f"{passage.title} {passage.text}" for passage in passages}
    assert all(pair.answer in by_id[pair.passage] for pair in pairs)
    assert not any(vocabulary()[UNKNOWN] in encode(pair.text) for pair in pairs)
    assert len({(pair.text, pair.passage) for pair in pairs}) == len(pairs)


def test_seed(passages):
    """A writer's texts for a passage depend on the seed and the passage, but not on other passages."""
    assert write(passages, seed=1) == write(passages, seed=1)
    assert write(passages, seed=1) != write(passages, seed=2)
    assert write(passages, seed=1)[10:15] == write(passages[2:3], seed=1)


def test_too_many_texts(passages):
    """If `count` exceeds the number of possible texts, the error states this number."""
    employer = [passage for passage in passages if "employer" in passage.id][:1]
    with pytest.raises(InputError, match="allows only 5 different paraphrases"):
        write(employer, 6, reword=False)
    with pytest.raises(InputError, match="allows only 12 different questions"):
        write(employer, 13, pairs=True)


@pytest.mark.parametrize(
    "text", ["Water boils at a hundred degrees.", "Mira Kolt plays the harp. Jon Bel plays the lute."]
)
def test_other_texts(text):
    """A passage that is not from the lab corpus, or is about two people, raises an error that states the passage id."""
    with pytest.raises(InputError, match="passage x#0"):
        write([Passage("x#0", "x", "", text, 0, len(text))])


def test_nothing_to_write():
    """Options that disable every kind of text are rejected."""
    with pytest.raises(ValidationError, match="at least one of"):
        WriterOptions(reword=False, reorder=False)
