"""Prompts: their fixed wording, and the passages dropped if the token budget is exceeded."""

import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kib.errors import InputError, PromptTemplateError
from kib.prompts import LETTERS, ask_question, build_prompt, render_passages
from kib.records import Passage, RenderedQuestion
from kib.support.templates import TemplateLimits, template_variables

FIXED = "simplify the template, because this limit is fixed"
MANY_CHARACTERS = "produces more than 5,000 characters; simplify the template, or increase `max_characters` in"
LIMITED_MEMORY = pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits memory")

TEXT = st.text(st.characters(codec="utf-8"), max_size=40)


def passage(number, text="text", title=""):
    return Passage(f"d{number}#0", f"d{number}", title, text, 0, len(text))


def asked(head="HEAD\n\n", ask="Question: why?\nAnswer:"):
    return RenderedQuestion("q", head, ask, "why?")


PASSAGES = st.lists(st.tuples(TEXT, TEXT), max_size=8).map(
    lambda parts: [passage(number, text, title) for number, (title, text) in enumerate(parts)]
)


def test_the_wording_of_a_question_is_frozen():
    """The default question template does not change, because models are trained on this template."""
    assert ask_question("Who?", ["Ada", "Ben"], letters=False) == "Question: Who?\nAnswer:"
    assert ask_question("Who?", ["Ada", "Ben"], letters=True) == "Question: Who?\nA. Ada\nB. Ben\nAnswer:"


def test_the_wording_of_passages_is_frozen():
    """A prompt has a heading, followed by the title and text of each passage and a blank line."""
    shown = render_passages([passage(1, "One.", "First"), passage(2, "Two.")])
    assert shown == "Context:\nFirst\nOne.\n\nTwo.\n\n"


def test_base_prompts_have_no_passage_heading():
    """A base prompt contains no passages and no heading for passages."""
    assert render_passages([]) == ""


def test_best_last_reverses_the_order():
    """With the order best-last, the highest-ranked passage is nearest to the question."""
    shown = render_passages([passage(1, "best"), passage(2, "worse")], order="best-last")
    assert shown.index("worse") < shown.index("best")


@given(TEXT, TEXT)
def test_passages_appear_literally(title, text):
    """Passages appear literally in the prompt, without rendering, escaping or trimming."""
    shown = render_passages([passage(1, text, title)])
    assert shown == "Context:\n" + (f"{title}\n" if title else "") + f"{text}\n\n"


def test_jinja_code_in_passages_is_not_executed():
    """Jinja code in a document is not executed."""
    assert "{{ 7 * 7 }}{% raw %}" in render_passages([passage(1, "{{ 7 * 7 }}{% raw %}")])


def test_custom_passage_template():
    """A custom template can use every field of the passages."""
    template = "{% for p in passages %}[{{ loop.index }} {{ p.document }}] {{ p.text }}\n{% endfor %}"
    assert render_passages([passage(1, "a"), passage(2, "b")], template) == "[1 d1] a\n[2 d2] b\n"


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{% for p in passages %}", "Unexpected end of template"),
        ("{{ documents }}", "'documents' is undefined"),
        ("{% for p in passages %}{{ p.body }}{% endfor %}", "no attribute 'body'"),
        ("{{ passages.clear() }}", "unsafe"),
        ("{{ passages.__class__.__mro__ }}", "unsafe"),
    ],
)
def test_template_errors_are_reported(template, words):
    """A template error is reported, and a template cannot access anything except the passages."""
    with pytest.raises(InputError, match=r"^line 1 of the template: ") as caught:
        render_passages([passage(1)], template)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ 9 ** (9**9) }}", "takes longer than 0.5 seconds; simplify the template, or increase `max_seconds` in"),
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "takes longer than"),
        ("{% for a in range(99999) %}{{ passages[0].text * 9 }}{% endfor %}", MANY_CHARACTERS),
        ("{{ '%099999d' % 1 }}", MANY_CHARACTERS),
        ("{{ range(10**9) }}", "Range too big"),
        pytest.param("{{ 'a' * 10**10 }}", f"needs more than 1,024 MB of memory; {FIXED}", marks=LIMITED_MEMORY),
        pytest.param("{{ 'a'.ljust(10**10) }}", f"needs more than 1,024 MB of memory; {FIXED}", marks=LIMITED_MEMORY),
        ("{{ " + "(" * 5000 + ")" * 5000 + " }}", f"the template is nested too deeply; {FIXED}"),
    ],
)
def test_a_template_that_exceeds_a_limit(template, words):
    """A template that exceeds a limit raises an error that names the key of this limit or states that it is fixed."""
    seconds = 0.5 if "takes longer" in words else 60
    with pytest.raises(PromptTemplateError, match=re.escape(words)):
        render_passages([passage(1)], template, limits=TemplateLimits(seconds, 5000))
    assert render_passages([passage(1, "a")], "{{ passages[0].text }}", limits=TemplateLimits(60, 5000)) == "a"


def test_checking_a_template_computes_nothing():
    """The variables of a template are found without evaluating constant expressions in the template."""
    assert template_variables("{{ 9 ** (9**9) }}{{ passages }}") == {"passages"}


@given(TEXT, TEXT, PASSAGES, st.integers(0, 300), st.sampled_from(["best-first", "best-last"]))
def test_only_the_last_ranked_passages_are_dropped(head, ask, passages, budget, order):
    """Examples and question are never truncated, and as many of the best passages as possible are kept."""
    question = asked(head, ask)

    def text(kept):
        return head + render_passages(passages[:kept], order=order) + ask

    if len(text(0)) > budget and all(len(text(kept)) > budget for kept in range(len(passages) + 1)):
        with pytest.raises(
            InputError, match=f"question q: the prompt has {len(text(0))} tokens even without passages, but the"
        ):
            build_prompt(question, passages, count=len, budget=budget, order=order)
        return
    prompt = build_prompt(question, passages, count=len, budget=budget, order=order)
    kept = len(prompt.passages)
    assert prompt.passages == tuple(p.id for p in passages[:kept])
    assert prompt.text == text(kept)
    assert prompt.dropped == len(passages) - kept
    assert prompt.tokens == len(prompt.text) <= budget
    assert all(len(text(more)) > budget for more in range(kept + 1, len(passages) + 1))


def test_tokens_reserved_for_an_answer_limit_the_prompt_but_are_not_counted():
    """Passages are dropped to leave room for a generated answer, but the answer is not counted as read."""
    bare = build_prompt(asked(), [], count=len)
    whole = build_prompt(asked(), [passage(1)], count=len)
    fitting = build_prompt(asked(), [passage(1)], count=len, reserve=9, budget=whole.tokens + 9)
    assert (fitting.dropped, fitting.tokens) == (0, whole.tokens)
    tight = build_prompt(asked(), [passage(1)], count=len, reserve=10, budget=whole.tokens + 9)
    assert (tight.dropped, tight.tokens) == (1, bare.tokens)
    with pytest.raises(InputError, match=f"the budget is {bare.tokens} tokens, of which 1 are reserved for the answer"):
        build_prompt(asked(), [], count=len, reserve=1, budget=bare.tokens)


@given(PASSAGES)
def test_without_a_budget_nothing_is_dropped(passages):
    """Without a token limit, all passages are kept, and tokens are counted if a tokenizer is available."""
    counted = build_prompt(asked(), passages, count=len)
    assert (counted.dropped, counted.tokens) == (0, len(counted.text))
    assert build_prompt(asked(), passages).tokens is None
    assert build_prompt(asked(), passages).text == counted.text


@given(PASSAGES)
def test_a_prompt_without_passages_is_the_base_prompt(passages):
    """Removing the passages from a prompt yields the base prompt."""
    base, rag = build_prompt(asked(), []), build_prompt(asked(), passages)
    shown = render_passages(passages)
    at = len(asked().head)
    assert rag.text[at : at + len(shown)] == shown
    assert rag.text[:at] + rag.text[at + len(shown) :] == base.text


def test_a_prompt_may_meet_the_budget_exactly():
    """A prompt that exactly meets the token budget is complete, and a budget one token smaller drops a passage."""
    passages = [passage(1), passage(2)]
    full = len(build_prompt(asked(), passages).text)
    assert build_prompt(asked(), passages, count=len, budget=full).dropped == 0
    assert build_prompt(asked(), passages, count=len, budget=full - 1).dropped == 1


def test_options_are_labelled_a_to_z():
    """Options are labelled with the letters A to Z."""
    assert "".join(map(chr, range(65, 91))) == LETTERS
