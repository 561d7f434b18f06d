"""Random draws that are identical on every machine."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kib.plugins.builtin.random_draws import draw, shuffled

NAMES = st.lists(st.text(st.characters(codec="utf-8"), max_size=8), unique=True, max_size=40)


def many(count):
    return [f"d{number}#0" for number in range(count)]


@given(NAMES, st.integers(0, 50), st.integers(), st.data())
def test_a_draw_gives_different_allowed_items(items, count, seed, data):
    """A draw contains no forbidden or repeated items and has the requested size if enough items are allowed."""
    without = set(data.draw(st.lists(st.sampled_from(items)))) if items else set()
    drawn = draw(items, count, without, "question", seed)
    assert len(set(drawn)) == len(drawn) == min(count, len(items) - len(without))
    assert set(drawn) <= set(items) - without


@given(NAMES, st.integers(0, 50), st.randoms(use_true_random=False))
def test_a_small_draw_does_not_depend_on_the_order_of_items(items, count, random):
    """A draw from a short list does not depend on the order of the list."""
    other = list(items)
    random.shuffle(other)
    assert draw(items, count, (), "q") == draw(other, count, (), "q")


@pytest.mark.parametrize("size", [0, 1, 10, 255, 256, 257, 300, 1000, 5000])
@pytest.mark.parametrize("forbidden", [0, 3])
def test_a_smaller_draw_is_a_prefix(size, forbidden):
    """A smaller draw is a prefix of a larger draw, for any number of items."""
    items, without = many(size), set(many(size)[: forbidden * 50 : 50])
    whole = draw(items, 400, without, "question", 0)
    assert len(whole) == min(400, size - len(without & set(items)))
    for count in (0, 1, 2, 5, 100, 127, 128, 129, 300, 399):
        assert draw(items, count, without, "question", 0) == whole[:count]


@pytest.mark.parametrize("size", [20, 300, 1000])
def test_refused_items_are_not_drawn(size):
    """A draw contains no refused item, and a smaller draw is a prefix even if nearly all items are refused."""
    for allowed in (2, 3, 10**9):
        kept = [item for number, item in enumerate(many(size)) if number % 7 < 5 and number % allowed == 0]
        asked = []

        def refused(item, kept=kept, asked=asked):
            asked.append(item)
            return item not in kept

        whole = draw(many(size), 50, {"d0#0"}, "question", refused=refused)
        assert len(asked) == len(set(asked))
        assert len(whole) == min(50, len(set(kept) - {"d0#0"}))
        assert set(whole) <= set(kept) - {"d0#0"}
        assert draw(many(size), 3, {"d0#0"}, "question", refused=refused) == whole[:3]


def test_unknown_forbidden_items_have_no_effect():
    """Forbidden items that are not in the list do not affect the size of a draw."""
    assert len(draw(many(3), 3, {"x", "y", "z"}, "q")) == 3
    assert len(draw(many(300), 300, {"x", "y", "z"}, "q")) == 300


@pytest.mark.parametrize("size", [20, 2000])
def test_draws_depend_on_question_and_seed(size):
    """A different question or a different seed leads to a different draw."""
    draws = {tuple(draw(many(size), 5, (), question, seed)) for question in "abcde" for seed in range(5)}
    assert len(draws) == 25


@pytest.mark.parametrize("size", [12, 1000])
def test_every_item_has_the_same_chance(size):
    """Over many questions, each allowed item is drawn about equally often."""
    items, without = many(size), {"d3#0"}
    counts = dict.fromkeys(items, 0)
    for question in range(40 * size // 4):
        for item in draw(items, 4, without, question):
            counts[item] += 1
    mean = 40 * size / (size - 1)
    assert counts.pop("d3#0") == 0
    assert all(abs(count - mean) < 6 * mean**0.5 for count in counts.values())


@given(NAMES)
def test_shuffling_keeps_every_item(items):
    """Shuffling a list changes only the order of its items."""
    assert sorted(shuffled(items, "salt")) == sorted(items)
    assert shuffled(items[::-1], "salt") == shuffled(items, "salt")


def test_random_draws_never_change_between_versions():
    """Random draws do not change between versions, because published results depend on them."""
    assert shuffled(["a", "b", "c", "d", "e"], "q", 0) == ["c", "b", "d", "a", "e"]
    assert draw(many(1000), 4, {"d1#0"}, "q", 0) == ["d258#0", "d477#0", "d892#0", "d450#0"]
