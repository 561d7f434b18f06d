from dataclasses import replace

import pytest
from pydantic import ValidationError

from kib.prompts import ask_question
from kib_lab.corpus import CorpusOptions, LabCorpus
from kib_lab.questions import KINDS, SPLITS
from kib_lab.task import LabTask, TaskOptions
from kib_lab.vocabulary import UNKNOWN, encode, vocabulary
from kib_lab.world import world


def _ask(split="test", **options):
    return list(LabTask(TaskOptions(**options)).questions(split))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("people", ["known", "new"])
def test_options_are_four_different_words(people, kind):
    """A question has four different options of one token each, the right one among them."""
    for question in _ask(people=people, kind=kind):
        assert len(set(question.options)) == 4
        assert all(len(encode(option)) == 1 for option in question.options)
        assert vocabulary()[UNKNOWN] not in encode(question.text + " ".join(question.options))


@pytest.mark.parametrize("kind", KINDS)
def test_the_right_option_stands_at_every_place(kind):
    """The right option's place is even over the questions, within four standard deviations."""
    places = [question.answer for question in _ask(people="new", kind=kind)]
    spread = (len(places) * 0.25 * 0.75) ** 0.5
    assert all(abs(places.count(place) - len(places) / 4) < 4 * spread for place in range(4))


@pytest.mark.parametrize("kind", ["direct", "reworded", "two-hop"])
def test_gold_holds_the_answer(kind):
    """The last gold range of a question is a sentence of the corpus that holds the right option and no other."""
    texts = {d.id: d.text for d in LabCorpus(CorpusOptions(people="new")).documents()}
    for question in _ask(people="new", kind=kind):
        gold = question.gold[-1]
        told = texts[gold.document][gold.start : gold.end]
        assert [option in encode_words(told) for option in question.options].index(True) == question.answer


def encode_words(text):
    return text.replace(".", " ").split()


def test_two_hop_needs_both_documents():
    """The gold of a two-hop question is the sentence on the employer's name and the one on the employer's fact."""
    lab = world("new", 200)
    for question in _ask(people="new", kind="two-hop"):
        person = next(p for p in lab.people if p.id == question.group)
        employer = lab.employers[person.facts["employer"]]
        assert [gold.document for gold in question.gold] == [person.id, employer.id]
        assert employer.name not in question.text


def test_reverse_asks_for_the_family_name():
    """A reverse question names profession and birthplace, which single out one person, and not the person."""
    lab = {person.id: person for person in world("new", 200).people}
    for question in _ask(people="new", kind="reverse"):
        person = lab[question.group]
        assert question.options[question.answer] == person.name.split()[1]
        assert person.facts["profession"] in question.text
        assert person.facts["birthplace"] in question.text
        assert not set(person.name.split()) & set(question.text.split())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("people", ["known", "new"])
def test_splits_share_no_person(people, kind):
    """Test, validation and examples ask about different people, and each asks something."""
    groups = [{question.group for question in _ask(split, people=people, kind=kind)} for split in SPLITS[:3]]
    assert all(groups)
    assert sum(len(group) for group in groups) == len(set.union(*groups))


def test_reworded_never_repeats_the_direct_wording():
    """A re-worded question asks for the same fact in other words than the direct one."""
    direct = {question.text for question in _ask(people="new")}
    reworded = {question.text for question in _ask(people="new", kind="reworded")}
    assert not direct & reworded


@pytest.mark.parametrize("half", ["taught", "told"])
def test_each_half_of_the_known_has_a_thousand_questions(half):
    """The halves of the known people are disjoint and have 1,020 test questions each."""
    assert len(_ask(people="known", half=half)) == 1020
    others = _ask(people="known", half="told" if half == "taught" else "taught")
    assert not {q.group for q in others} & {q.group for q in _ask(people="known", half=half)}


def test_neighbours_are_asked_for_different_facts():
    """The first questions of a split ask different people for a mixture of facts."""
    first = _ask(people="new")[:170]
    assert len({question.group for question in first}) == 170
    assert len({question.id.split("-")[2] for question in first}) == 6


def test_ids_are_unique():
    """Questions of all kinds and splits have different ids."""
    ids = [q.id for kind in KINDS for split in SPLITS[:3] for q in _ask(split, people="new", kind=kind)]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("kind", KINDS)
def test_reworded_split_asks_the_same_in_other_words(kind):
    """The split `reworded` has the test questions' ids, options, answers and gold, and another text each."""
    test, again = _ask(people="new", kind=kind), _ask("reworded", people="new", kind=kind)
    assert [replace(question, text="") for question in test] == [replace(question, text="") for question in again]
    assert not [a.text for a, b in zip(test, again, strict=True) if a.text == b.text]


def test_new_people_have_no_halves():
    """A half of the new people is refused."""
    with pytest.raises(ValidationError, match="only known people"):
        TaskOptions(people="new", half="taught")


def test_no_token_spans_the_join_of_prompt_and_answer():
    """Prompt and answer together have the tokens of the prompt, then those of the answer."""
    for question in _ask(people="new")[:50]:
        prompt = ask_question(question.text, question.options, letters=False)
        for option in question.options:
            assert encode(f"{prompt} {option}") == encode(prompt) + encode(f" {option}")
