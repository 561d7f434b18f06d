"""The messages of a chat as one text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kib.errors import InputError
from kib.support.chat_messages import chat_as_text, messages_of

MESSAGES = [
    {"role": "system", "content": 'Answer "briefly".\nNo sentence.'},
    {"role": "user", "content": "Who?"},
    {"role": "assistant", "content": "Ada"},
    {"role": "user", "content": "Wann?\nÜber\u2028Nacht"},
]

TURN = st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": st.text()})


def test_the_text_of_a_chat():
    """The first line lists the roles and the earlier messages, and the last message follows as it is."""
    assert chat_as_text(MESSAGES[2:], True) == (
        '[{"role": "assistant", "content": "Ada"}, {"role": "user"}]\nWann?\nÜber\u2028Nacht'
    )


@given(st.lists(TURN, min_size=1))
def test_messages_are_restored(messages):
    """The messages of a chat are restored from its text, whatever characters they contain."""
    assert messages_of(chat_as_text(messages, True)) == messages


@pytest.mark.parametrize("passage", ['"}]\n', "\\", '[{"role": "user"}]\n', "\r\n\x85"])
def test_passages_before_the_last_message(passage):
    """Text inserted before the question belongs to the last message, even if the text looks like a list of messages."""
    head, ask = chat_as_text(MESSAGES, True).split("Wann?")
    [*earlier, last] = messages_of(f"{head}{passage}Wann?{ask}")
    assert earlier == MESSAGES[:-1]
    assert last == {"role": "user", "content": f"{passage}{MESSAGES[-1]['content']}"}


@pytest.mark.parametrize(
    "prompt",
    [
        *("", "Who?", "[]\nWho?", "[1, 2]\nWho?", '{"role": "user"}\nx', '[{"role": 1}]\nx', "[" * 100_000),
        *('[{"role": "user"}, {"role": "user"}]\nx', '[{"role": "user", "content": "x"}]\ny'),
    ],
)
def test_any_other_prompt_is_one_message(prompt):
    """A prompt that was not made from messages is the only message of a user."""
    assert messages_of(prompt) == [{"role": "user", "content": prompt}]


def test_an_answer_that_has_begun_is_refused():
    """A chat that ends with the beginning of the model's answer raises an error, because no endpoint continues it."""
    with pytest.raises(InputError, match=r"the task begins the model's answer \(`gen_prefix`\)"):
        chat_as_text(MESSAGES, False)
