import pytest
from pydantic import ValidationError

from kib.errors import InputError
from kib.records import Passage
from kib_lab.corpus import CorpusOptions, LabCorpus
from kib_lab.questions import KINDS, SPLITS
from kib_lab.task import LabTask, TaskOptions
from kib_lab.vocabulary import UNKNOWN, encode, vocabulary
from kib_lab.world import world
from kib_lab.writer import LabWriter, WriterOptions, read


@pytest.fixture(scope="module")
def passages():
    documents = LabCorpus(CorpusOptions(people="new", count=40)).documents()
    return [Passage(f"{d.id}#0", d.id, d.title, d.text, 0, len(d.text)) for d in documents]


def _write(passages, count=5, seed=0, **options):
    return list(LabWriter(WriterOptions(**options)).write(passages, count, seed, {}))


def test_a_passage_is_read_back(passages):
    """From its text alone the writer knows whom a passage tells of and every fact in it."""
    lab = world("new", 40)
    entities = {entity.id: entity for entity in (*lab.people, *lab.employers.values())}
    for passage in passages:
        entity, told = read(passage)
        assert (entity.name, dict(entity.facts)) == (entities[passage.document].name, entities[passage.document].facts)
        assert " ".join(told.values()) == passage.text


@pytest.mark.parametrize(
    "options",
    [{}, {"reverse": True}, {"reorder": False}, {"reword": False}, {"reword": False, "reverse": True}],
    ids=str,
)
def test_paraphrases_tell_the_same_facts_in_another_text(passages, options):
    """Each passage has `count` different paraphrases, none its own text, that hold all of its facts and known words."""
    people = [passage for passage in passages if "employer" not in passage.id]
    texts = _write(people, **options)
    assert [text.passage for text in texts] == [passage.id for passage in people for _ in range(5)]
    assert {text.kind for text in texts} == {"paraphrase"}
    assert len({text.text for text in texts}) == len(texts)
    by_id = {passage.id: passage for passage in people}
    for text in texts:
        title, body = text.text.split("\n")
        assert title == by_id[text.passage].title
        assert body != by_id[text.passage].text
        assert all(value in body for value in read(by_id[text.passage])[0].facts.values())
        assert vocabulary()[UNKNOWN] not in encode(text.text)


def _order(text):
    return list(read(Passage("p", "p", "", text.split("\n")[1], 0, 1))[1])


def test_each_change_is_selectable(passages):
    """Without `reorder` the facts keep their order, without `reword` the sentences keep their words."""
    first = passages[:1]
    facts, sentences = list(read(first[0])[1]), set(read(first[0])[1].values())
    assert all(_order(text.text) == facts for text in _write(first, reorder=False))
    for text in _write(first, reword=False):
        body = text.text.split("\n")[1]
        assert {f"{line}." for line in body.rstrip(".").split(". ")} == sentences


def test_reverse_tells_the_value_first(passages):
    """With `reverse` fewer sentences begin with the name, and some name a person by trade and birthplace."""

    def share(**options):
        lines = [line for text in _write(passages[:1], 10, **options) for line in _body(text).split(". ")]
        return sum(line.startswith(passages[0].title) for line in lines) / len(lines)

    assert share(reword=False, reverse=True) < share(reword=False)
    reverse = [text.text for text in _write(passages[:9], 9, reverse=True)]
    assert any(" is called " in text or " born in " in text for text in reverse)


def _body(text):
    return text.text.split("\n")[1]


def test_pairs_are_never_test_questions(passages):
    """No training pair has the wording of any question of any split, and its answer is a fact of its passage."""
    pairs = [text for text in _write(passages, 12, pairs=True) if text.kind == "pair"]
    asked = {
        question.text
        for kind in KINDS
        for split in SPLITS
        for question in LabTask(TaskOptions(people="new", count=40, kind=kind)).questions(split)
    }
    assert len(pairs) == 12 * len(passages)
    assert not {pair.text for pair in pairs} & asked
    by_id = {passage.id: f"{passage.title} {passage.text}" for passage in passages}
    assert all(pair.answer in by_id[pair.passage] for pair in pairs)
    assert not any(vocabulary()[UNKNOWN] in encode(pair.text) for pair in pairs)
    assert len({(pair.text, pair.passage) for pair in pairs}) == len(pairs)


def test_the_seed_decides(passages):
    """The same seed writes the same texts, another seed others, and a passage's texts do not depend on the others."""
    assert _write(passages, seed=1) == _write(passages, seed=1)
    assert _write(passages, seed=1) != _write(passages, seed=2)
    assert _write(passages, seed=1)[10:15] == _write(passages[2:3], seed=1)


def test_more_than_there_is_is_refused(passages):
    """Asking for more different texts than the facts allow is an error that says how many there are."""
    employer = [passage for passage in passages if "employer" in passage.id][:1]
    with pytest.raises(InputError, match="allows 5 different paraphrases"):
        _write(employer, 6, reword=False)
    with pytest.raises(InputError, match="allows 12 different questions"):
        _write(employer, 13, pairs=True)


@pytest.mark.parametrize(
    "text", ["Water boils at a hundred degrees.", "Mira Kolt plays the harp. Jon Bel plays the lute."]
)
def test_other_text_is_refused(text):
    """A passage that is not the lab's, or tells of two people, is refused by name."""
    with pytest.raises(InputError, match="passage x#0"):
        _write([Passage("x#0", "x", "", text, 0, len(text))])


def test_a_writer_that_writes_nothing_is_refused():
    """With every kind switched off there is nothing to write."""
    with pytest.raises(ValidationError, match="at least one of"):
        WriterOptions(reword=False, reorder=False)
