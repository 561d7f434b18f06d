import pytest

from kib.prompts import build_prompt
from kib.records import Passage, RenderedQuestion
from kib_lab.rows import KINDS, Row, make_row
from kib_lab.vocabulary import END, encode, vocabulary
from kib_lab.world import KNOWN, is_taught, world

STEPS = range(60)


def _texts(kind, progress=0.9):
    words = list(vocabulary())
    return [" ".join(words[token] for token in make_row(kind, 0, step, 0, progress).tokens) for step in STEPS]


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_follows_from_its_place(kind):
    """The same seed, step and place give the same row, others another."""
    assert make_row(kind, 0, 5, 1, 0.9) == make_row(kind, 0, 5, 1, 0.9)
    assert make_row(kind, 0, 5, 1, 0.9) != make_row(kind, 0, 6, 1, 0.9)


def test_people_told_of_are_never_asked_about():
    """No question of the pre-training, with or without context, is about the half that was only told of."""
    told = [person.name for i, person in enumerate(world("known", KNOWN).people) if not is_taught(i)]
    questions = [part for kind in ("asked", "read") for text in _texts(kind) for part in text.split("Question :")[1:]]
    assert len(questions) > 300
    assert not [name for name in told if any(name in question for question in questions)]


def test_new_people_never_occur():
    """No row names a new person."""
    new = [person.name for person in world("new", 1000).people]
    everything = "\n".join(text for kind in KINDS for text in _texts(kind))
    assert not [name for name in new if name in everything]


def test_reading_is_practised_in_kibs_own_prompt():
    """Context and one question of a reading row are what kib's prompt gives, token for token."""
    words = list(vocabulary())
    row = make_row("read", 0, 5, 3, 0.9)
    shared = [token for token, branch in zip(row.tokens, row.branches, strict=True) if branch == 0]
    lines = " ".join(words[token] for token in shared).replace(" \n ", "\n").replace(" \n", "\n").split("\n\n")
    passages = []
    for block in lines:
        title, text = block.removeprefix("Context :\n").strip("\n").split("\n") if block.strip("\n") else ("", "")
        passages += [Passage("", "", title, text, 0, len(text))] if title else []
    branch = [token for token, branch in zip(row.tokens, row.branches, strict=True) if branch == 1]
    ask = " ".join(words[token] for token in branch[:-2])
    prompt = build_prompt(RenderedQuestion("q", "", ask, ""), passages)
    assert encode(prompt.text) == shared + branch[:-2]
    assert branch[-1] == vocabulary()[END]


def test_the_curriculum_begins_with_one_passage():
    """At first a context has one passage, later up to six."""
    early = [text.count("\n \n") for text in _texts("read", 0.0)]
    late = [text.count("\n \n") for text in _texts("read", 0.9)]
    assert max(late) > max(early)


def test_a_branch_is_scored_as_if_asked_alone():
    """The loss of a row with branches is the sum over its branches, each with the context as a row of its own."""
    from kib_lab.pretrain import Settings, _loss, _new_model

    model = _new_model(Settings(width=32, layers=2, bf16=False)).eval()
    row = make_row("read", 0, 5, 3, 0.9)
    row.weights = [w if branch else 0.0 for w, branch in zip(row.weights, row.branches, strict=True)]  # asked, not told
    alone = 0.0
    for branch in sorted(set(row.branches) - {0}):
        kept = [i for i, other in enumerate(row.branches) if other in (0, branch)]
        assert [row.positions[i] for i in kept] == list(range(len(kept)))
        part = Row(
            [row.tokens[i] for i in kept], [0] * len(kept), list(range(len(kept))), [row.weights[i] for i in kept]
        )
        alone += _loss(model, [part]).item()
    assert _loss(model, [row]).item() == pytest.approx(alone, rel=1e-5)
