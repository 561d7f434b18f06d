import pytest

from kib.prompts import build_prompt
from kib.records import Passage, RenderedQuestion
from kib_lab.pretraining_examples import KINDS, TrainingExample, make_example
from kib_lab.vocabulary import END, encode, vocabulary
from kib_lab.world import KNOWN_PEOPLE, generate_world, is_taught

STEPS = range(60)


def texts(kind, progress=0.9):
    """Return the text of the first pre-training example of each step in STEPS."""
    words = list(vocabulary())
    return [" ".join(words[token] for token in make_example(kind, 0, step, 0, progress).tokens) for step in STEPS]


@pytest.mark.parametrize("kind", KINDS)
def test_determinism(kind):
    """A pre-training example depends only on the kind, seed, step and index, and differs between steps."""
    assert make_example(kind, 0, 5, 1, 0.9) == make_example(kind, 0, 5, 1, 0.9)
    assert make_example(kind, 0, 5, 1, 0.9) != make_example(kind, 0, 6, 1, 0.9)


def test_no_questions_about_the_other_half():
    """All pre-training questions, with or without context, are about the taught half of the known people."""
    people = generate_world("known", KNOWN_PEOPLE).people
    other_half = [person.name for i, person in enumerate(people) if not is_taught(i)]
    questions = [part for kind in ("asked", "read") for text in texts(kind) for part in text.split("Question :")[1:]]
    assert len(questions) > 300
    assert not [name for name in other_half if any(name in question for question in questions)]


def test_no_new_people():
    """No pre-training example contains the name of a new person."""
    new = [person.name for person in generate_world("new", 1000).people]
    everything = "\n".join(text for kind in KINDS for text in texts(kind))
    assert not [name for name in new if name in everything]


def test_context_and_question_are_a_prompt_of_kib():
    """The context and one question of a pre-training example have the same token ids as kib's prompt."""
    words = list(vocabulary())
    example = make_example("read", 0, 5, 3, 0.9)
    shared = [token for token, branch in zip(example.tokens, example.branches, strict=True) if branch == 0]
    blocks = " ".join(words[token] for token in shared).replace(" \n ", "\n").replace(" \n", "\n").split("\n\n")
    passages = []
    for block in blocks:
        title, text = block.removeprefix("Context :\n").strip("\n").split("\n") if block.strip("\n") else ("", "")
        passages += [Passage("", "", title, text, 0, len(text))] if title else []
    question = [token for token, branch in zip(example.tokens, example.branches, strict=True) if branch == 1]
    ask = " ".join(words[token] for token in question[:-2])
    prompt = build_prompt(RenderedQuestion("q", "", ask, ""), passages)
    assert encode(prompt.text) == shared + question[:-2]
    assert question[-1] == vocabulary()[END]


def test_curriculum():
    """The contexts of pre-training examples contain one passage early in pre-training and more passages later."""
    early = [text.count("\n \n") for text in texts("read", 0.0)]
    late = [text.count("\n \n") for text in texts("read", 0.9)]
    assert max(late) > max(early)


def test_branches_do_not_see_each_other():
    """The loss of an example equals the summed loss of separate examples, each with the context and one question."""
    from kib_lab.pretrain import PretrainingSettings, _loss, _new_model

    model = _new_model(PretrainingSettings(width=32, layers=2, bf16=False)).eval()
    example = make_example("read", 0, 5, 3, 0.9)
    example.weights = [w if branch else 0.0 for w, branch in zip(example.weights, example.branches, strict=True)]
    separate = 0.0
    for branch in sorted(set(example.branches) - {0}):
        visible = [i for i, other in enumerate(example.branches) if other in (0, branch)]
        assert [example.positions[i] for i in visible] == list(range(len(visible)))
        tokens, weights = [example.tokens[i] for i in visible], [example.weights[i] for i in visible]
        separate += _loss(
            model, [TrainingExample(tokens, [0] * len(visible), list(range(len(visible))), weights)]
        ).item()
    assert _loss(model, [example]).item() == pytest.approx(separate, rel=1e-4)
