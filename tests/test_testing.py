import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from pydantic import Field

import kib.testing
from kib.errors import InputError, PluginError
from kib.identity import digest
from kib.interfaces import InputPath, Options
from kib.records import Document, Gold, Hit, Passage, Query, Question, Recipient, Verdict, Weights
from kib.support.recipients import require_allowed
from kib.testing import (
    DOCUMENTS,
    PASSAGES,
    QUERIES,
    check_corpus,
    check_fingerprint,
    check_judge,
    check_light_import,
    check_model,
    check_options,
    check_plugin,
    check_recipients,
    check_retriever,
    check_task,
    make_plugin,
    make_tiny_model,
)

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance


class Nothing(Options):
    """Options without keys."""


class Plugin:
    """The common base class of the test plugins."""

    Options: ClassVar[type[Options]] = Nothing
    revision: ClassVar[int] = 1
    made: ClassVar[int] = 0

    def __init__(self, options: Options) -> None:
        type(self).made += 1
        self.options = options
        self.number = type(self).made

    def fingerprint(self) -> str:
        return ""


def spoilt(cls: type[Any], **changes: Any) -> Callable[[], Any]:
    """Return a factory for instances of a class with some methods replaced."""
    changed = type(cls.__name__, (cls,), changes)
    return lambda: make_plugin(changed)


class Shelf(Plugin):
    """A corpus with the built-in documents."""

    def documents(self) -> Iterator[Document]:
        yield from DOCUMENTS


def of(*documents: Any) -> Any:
    return lambda _: iter(documents)


class Grader:
    """A correct judge, which accepts answers with an accepted answer."""

    Options = Options
    revision = 1

    def __init__(self, options):
        self.options = options

    def fingerprint(self):
        """Return "", because the judge reads no files."""
        return ""

    def judge(self, answers, kept):
        """Yield one verdict per answer."""
        for answer in answers:
            kept[answer.output] = "paid"
            yield Verdict(int(any(accepted in answer.output for accepted in answer.accepted)), "by rule")


def test_check_judge_accepts_a_correct_judge():
    """A correct judge passes `check_judge`."""
    check_judge(lambda: make_plugin(Grader))


@pytest.mark.parametrize(
    ("judge", "words"),
    [
        (lambda _self, _answers, _kept: iter([Verdict(1)]), "yields 1 verdicts on 8 answers"),
        (lambda _self, answers, _kept: iter([1.0] * len(answers)), "expected a Verdict"),
        (lambda _self, answers, _kept: iter([Verdict(2)] * len(answers)), "yields the score 2"),
        (lambda _self, answers, _kept: iter([Verdict(1 / len(answers))] * len(answers)), "judged alone"),
    ],
)
def test_check_judge_names_the_broken_rule(judge, words):
    """If a judge is faulty, `check_judge` names the violated rule."""
    with pytest.raises(AssertionError, match=words):
        check_judge(lambda: make_plugin(type("Faulty", (Grader,), {"judge": judge})))


def test_corpus() -> None:
    """A correct corpus passes `check_corpus`."""
    check_corpus(lambda: make_plugin(Shelf))


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        (of(), "documents\\(\\) yields no documents"),
        (of({"id": "a"}), "expected kib.records.Document"),
        (of(Document("a", "", "x"), Document("a", "", "y")), "document: more than once: 'a'"),
        (of(Document(" ", "", "x")), "document id . .: the id is empty or unprintable"),
        (of(Document("a\n", "", "x")), "document id .*: the id is empty or unprintable"),
        (of(Document("a", "", " ")), "the text is empty"),
        (of(Document("a", "", "\ud800")), "text cannot be encoded as UTF-8"),
        (of(replace(DOCUMENTS[0], source=None)), "source is None; expected a string"),  # type: ignore[arg-type]
        (
            lambda self: iter([Document("a", "", f"of instance {self.number}")]),
            "yields different documents in a new instance",
        ),
        (lambda self: (self.__dict__.setdefault("left", [*DOCUMENTS]).pop() for _ in range(3)), "different documents"),
    ],
)
def test_spoilt_corpus(documents: Any, message: str) -> None:
    """If a corpus is faulty, `check_corpus` names the violated rule."""
    with pytest.raises(AssertionError, match=message):
        check_corpus(spoilt(Shelf, documents=documents))


class Overlap(Plugin):
    """A retriever that counts shared words."""

    def build(self, passages: Iterable[Passage], folder: Path) -> None:
        words = {passage.id: sorted(set(f"{passage.title} {passage.text}".lower().split())) for passage in passages}
        (folder / "index.json").write_text(json.dumps(words), encoding="utf-8")

    def search(self, folder: Path, queries: Sequence[Query], k: int) -> list[list[Hit]]:
        words = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        return [self.one(words, query, k) for query in queries]

    def one(self, words: dict[str, list[str]], query: Query, k: int) -> list[Hit]:
        asked = set(query.text.lower().split())
        counts = {name: float(len(asked.intersection(own))) for name, own in words.items()}
        hits = [Hit(name, count) for name, count in counts.items() if count]
        return sorted(hits, key=lambda hit: (-hit.score, hit.passage))[:k]


def test_retriever() -> None:
    """A correct retriever passes `check_retriever`."""
    check_retriever(lambda: make_plugin(Overlap))


def later(change: Callable[..., Any]) -> Any:
    """Return a `search` method that modifies its hits before returning them."""

    def search(self: Any, folder: Path, queries: Sequence[Query], k: int) -> list[list[Hit]]:
        found: list[list[Hit]] = change(Overlap.search(self, folder, queries, k), self, queries, k)
        return found

    return search


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found, *_: found[:-1], "lists of hits for"),
        (lambda found, *_: [hits * 2 for hits in found], "passage: more than once"),
        (lambda found, *_: [[Hit("nobody#0", 1.0)] for _ in found], "is not in the index"),
        (lambda found, *_: [[Hit(h.passage, math.nan) for h in hits] for hits in found], "the score nan"),
        (lambda found, *_: [[Hit(h.passage, 1) for h in hits] for hits in found], "the score 1"),
        (
            lambda found, *_: [hits[::-1] for hits in found],
            "hits must be sorted by descending score, and by passage id",
        ),
        (lambda found, *_: [found[0] for _ in found], "different queries yield only these best hits:"),
        (
            lambda found, _, queries, __: [[Hit(h.passage, h.score + len(queries)) for h in hits] for hits in found],
            "searching for this query alone returns different hits",
        ),
        (
            lambda found, self, *_: [[Hit(h.passage, h.score + self.number) for h in hits] for hits in found],
            "a new instance finds different hits",
        ),
        (
            lambda found, _, __, k: [[Hit(h.passage, h.score + (k < 9)) for h in hits] for hits in found],
            "the best 1 hits differ from the first 1 of all",
        ),
        (
            lambda found, _, queries, __: [*found, *([[]] if not queries else [])],
            "returns hits although there are no queries",
        ),
        (
            lambda found, _, queries, __: [
                [Hit(h.passage, h.score + (queries[0].id != "lever")) for h in hits] for hits in found
            ],
            "the hits depend on the order of the queries",
        ),
    ],
)
def test_spoilt_search(change: Callable[..., Any], message: str) -> None:
    """If a `search` method is faulty, `check_retriever` names the violated rule."""
    with pytest.raises(AssertionError, match=message):
        check_retriever(spoilt(Overlap, search=later(change)))


def test_too_many_hits() -> None:
    """A retriever that returns more hits than requested fails `check_retriever`."""
    many = later(lambda found, *_: [[Hit(f"p{n}", 0.0) for n in range(15)] for _ in found])
    with pytest.raises(AssertionError, match="15 hits; expected at most 14"):
        check_retriever(spoilt(Overlap, search=many))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda given, left: given[1:] if left else given, "over an interrupted build yields different hits"),
        (
            lambda given, left: given[1:] if left.endswith("}") else given,
            "over a finished build yields different hits",
        ),
        (lambda given, _: given or PASSAGES[:1], "returns hits from an empty index"),
    ],
)
def test_spoilt_build(change: Callable[..., Any], message: str) -> None:
    """`check_retriever` fails if an earlier build affects the index or if unindexed passages are returned."""

    def build(self: Any, passages: Iterable[Passage], folder: Path) -> None:
        place = folder / "index.json"
        left = place.read_text(encoding="utf-8") if place.exists() else ""
        Overlap.build(self, change([*passages], left), folder)

    with pytest.raises(AssertionError, match=message):
        check_retriever(spoilt(Overlap, build=build))


def test_twins_out_of_order() -> None:
    """The built-in passages contain a tie in which the order of positions differs from the order of ids."""
    places = [passage.id for passage in PASSAGES if passage.document.startswith("twin")]
    assert places == sorted(places, reverse=True)


class RenderedTask(Plugin):
    """A task with two questions about the built-in documents."""

    def questions(self, split: str) -> Iterator[Question]:
        if split == "test":
            yield Question("lever", "Which lever?", ("red", "blue"), 0, (Gold("pump", 28, 31),))
            yield Question("pie", "Which pie?", ("plum", "apple"), 1, (Gold("cook"),))


def asks(**changes: Any) -> Any:
    question = Question("q", "Which?", ("a", "b"), 0)
    return lambda _, split: iter([replace(question, **changes)] if split == "test" else [])


def test_task() -> None:
    """A correct task passes `check_task`, and the task's gold documents are found in the corpus."""
    check_task(lambda: make_plugin(RenderedTask), corpus=lambda: make_plugin(Shelf))


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        (lambda *_: iter([]), r'questions\("test"\) yields no questions'),
        (lambda _, split: iter(["q"] if split == "test" else []), "expected kib.records.Question"),
        (lambda *_: iter([Question("q", "Which?", ("a", "b"), 0)]), "for a split that does not exist"),
        (lambda *_: iter([Question("q", "Which?", ("a", "b"), 0)] * 2), "test: question: more than once: 'q'"),
        (asks(id=""), "the id is empty"),
        (asks(text=" "), "the text is empty"),
        (asks(text="\udc00"), "cannot be encoded as UTF-8"),
        (asks(options=("a",)), "expected at least two options, got 1"),
        (asks(options=("a", "a")), "an option appears twice"),
        (asks(options=("a", " b")), "the question or an answer is surrounded by white space"),
        (asks(answer=2), "the answer 2 is not the index of an option"),
        (asks(gold=(Gold("pump", 3),)), "the gold range lacks a start or an end"),
        (asks(gold=(Gold("pump", 3, 3),)), "the gold range is empty"),
        (asks(gold=(Gold("nobody"),)), "the gold document 'nobody' is not in the corpus"),
        (asks(gold=(Gold("pump", 0, 999),)), "the gold range extends beyond the end of the document"),
        (asks(gold=(Gold("pump", 0, 3, "blue"),)), "the gold range does not contain the quote"),
        (
            lambda self, split: iter([Question("q", f"{self.number}?", ("a", "b"), 0)] if split == "test" else []),
            "yields different questions in a new instance",
        ),
        (
            lambda self, split: iter(
                [Question("q", f"{len(self.__dict__.setdefault('asked', []))}?", ("a", "b"), self.asked.append(0) or 0)]
                if split == "test"
                else []
            ),
            "yields different questions when called again",
        ),
    ],
)
def test_spoilt_task(questions: Any, message: str) -> None:
    """If a task is faulty, `check_task` names the violated rule."""
    with pytest.raises(AssertionError, match=message):
        check_task(spoilt(RenderedTask, questions=questions), corpus=lambda: make_plugin(Shelf))


class Echo(Plugin):
    """A model with log-probabilities derived from the digest of the request."""

    def tokens(self) -> Callable[[str], list[int]] | None:
        return lambda text: list(text.encode())

    def context_length(self) -> int | None:
        return 64

    def weights(self) -> Weights | None:
        return None

    def load(self, weights: Weights | None = None) -> Any:
        from lm_eval.api.model import LM

        owner = self

        class EchoLM(LM):
            def loglikelihood(self, requests: "list[Instance]") -> list[tuple[float, bool]]:
                return [(value, False) for value in owner.values(requests)]

            def loglikelihood_rolling(self, requests: "list[Instance]") -> list[float]:
                return owner.values(requests)

            def generate_until(self, requests: "list[Instance]") -> list[str]:
                return [owner.text(request.args[0], len(requests)) for request in requests]

        return EchoLM()

    def values(self, requests: "list[Instance]") -> list[float]:
        return [self.value(list(request.args), place, len(requests)) for place, request in enumerate(requests)]

    def value(self, request: list[Any], place: int, count: int) -> float:
        return -int(digest(request)[:4], 16) / 1000

    def text(self, context: str, count: int) -> str:
        return digest(context)[:8]


def test_model() -> None:
    """A correct model passes `check_model`, with or without a tokenizer."""
    check_model(lambda: make_plugin(Echo))
    check_model(spoilt(Echo, tokens=lambda _: None, context_length=lambda _: None))


def test_model_tolerance() -> None:
    """`check_model` tolerates rounding differences between batches and request orders."""
    noisy = spoilt(Echo, value=lambda self, request, place, count: Echo.value(self, request, 0, 0) - place * 1e-7)
    check_model(noisy)
    with pytest.raises(AssertionError, match="depends on the order"):
        check_model(noisy, tolerance=1e-9)


@pytest.mark.parametrize(
    ("name", "method", "message"),
    [
        ("tokens", lambda _: lambda text: [float(len(text))], "must return integers"),
        ("tokens", lambda _: lambda text: [], "returns no tokens"),
        ("tokens", lambda self: lambda text: [self.number, len(text)], "returns different results"),
        ("tokens", lambda self: None if self.number % 2 else len, "returns None in only one of two instances"),
        ("context_length", lambda _: 0, r"context_length\(\) returns 0"),
        ("weights", lambda _: Weights(Path("nowhere")), "which is not a folder"),
        ("value", lambda self, *_: -float(self.number), "loglikelihood: a new instance returns different answers"),
        ("value", lambda *_: 0.5, "0.5 is not a log-probability"),
        ("value", lambda self, request, place, count: -float(place), "depends on the order"),
        ("value", lambda self, request, place, count: -float(count), "depends on the other requests"),
        ("text", lambda *_: "one\ntwo", "continues after `until`"),
        ("text", lambda *_: 1, "returns 1; expected a string"),
        (
            "text",
            lambda self, context, count: str(count),
            "generate_until, request 0: the answer depends on the other requests",
        ),
    ],
)
def test_spoilt_model(name: str, method: Any, message: str) -> None:
    """If a model is faulty, `check_model` names the violated rule."""
    with pytest.raises(AssertionError, match=message):
        check_model(spoilt(Echo, **{name: method}))


def test_model_kinds() -> None:
    """`check_model` sends only the kinds of request supported by the backend."""
    no_rolling = spoilt(Echo, text=lambda *_: 1)
    check_model(no_rolling, kinds=["loglikelihood"])


class Strict(Options):
    """Options of a correct plugin."""

    count: int = Field(default=1, ge=1, description="How many.")


class Loose(Strict):
    """Options that accept unknown keys."""

    model_config: ClassVar[Any] = {"extra": "ignore"}


class Bare(Options):
    """Options without descriptions."""

    count: int = 1


class Filed(Options):
    """Options that contain a file path."""

    path: InputPath = Field(description="The file.")


def with_options(options: type[Options]) -> type[Any]:
    return type("WithOptions", (Plugin,), {"Options": options})


def test_options() -> None:
    """Strict options with descriptions pass `check_options`."""
    check_options(with_options(Strict), accepts=[{}, {"count": 2}], refuses=[{"count": 0}, {"count": "1"}])


@pytest.mark.parametrize(
    ("options", "refuses", "message"),
    [
        (Bare, [], "the option `count` has no description"),
        (Loose, [], "accepts an unknown key"),
        (Strict, [{"count": 3}], r"accepts an invalid value: {'count': 3}"),
    ],
)
def test_spoilt_options(options: type[Options], refuses: list[dict[str, Any]], message: str) -> None:
    """If options are faulty, `check_options` names the violated rule."""
    with pytest.raises(AssertionError, match=message):
        check_options(with_options(options), accepts=[{}], refuses=refuses)


def test_make_plugin(tmp_path: Path) -> None:
    """Plugin options are read as if they came from a benchmark file in the given folder."""
    assert make_plugin(with_options(Filed), {"path": "a.txt"}, tmp_path).options.path == tmp_path / "a.txt"
    with pytest.raises(ValueError, match="count"):
        make_plugin(with_options(Strict), {"count": "3"})


def test_fingerprint(tmp_path: Path) -> None:
    """A fingerprint must be a string that changes if and only if the content changes."""
    file = tmp_path / "file"

    def check(fingerprint: Callable[[Any], Any]) -> None:
        file.write_text("one")
        check_fingerprint(
            spoilt(Plugin, fingerprint=fingerprint),
            same=lambda: file.write_text("one "),
            change=lambda: file.write_text("two"),
        )

    check(lambda _: file.read_text().strip())
    for spoil, message in (
        (lambda _: "", "is the same although the content changed"),
        (lambda _: file.read_text(), "changed although the content did not"),
        (lambda self: str(self.number), "returns a different value in a new instance"),
        (lambda _: 7, "returns 7; expected a string"),
    ):
        with pytest.raises(AssertionError, match=message):
            check(spoil)


class Address(Options):
    """Options with an address."""

    url: str = Field(description="An address.")


class Sender(Plugin):
    """A plugin that refuses to send text to a disallowed server."""

    Options: ClassVar[type[Options]] = Address

    def recipients(self) -> list[Recipient]:
        return [Recipient(("url",), self.options.url)]

    def send(self) -> None:
        require_allowed(self.recipients())


def test_recipients() -> None:
    """A plugin must list its server as a recipient and reject a disallowed server before contacting the server."""

    def fail(_: Any) -> None:
        raise InputError("the connection failed")

    def check(**changes: Any) -> None:
        changed = type("Sender", (Sender,), changes)
        check_recipients(lambda address: make_plugin(changed, {"url": address}), lambda plugin: plugin.send())

    check()
    for changes, message in (
        ({"recipients": None}, "has no method `recipients`"),
        ({"recipients": lambda _: []}, "expected https://stranger.invalid:8443, the address in the options"),
        (
            {"recipients": lambda one: [*Sender.recipients(one), Recipient(("url",), "http://a")]},
            "has a different value",
        ),
        ({"send": lambda _: None}, "contacts https://stranger.invalid:8443; call `require_allowed`"),
        ({"send": fail}, "expected the error of `require_allowed`, got: the connection failed"),
    ):
        with pytest.raises(AssertionError, match=re.escape(message)):
            check(**changes)


def test_light_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`check_light_import` reports slow imports and import errors, and accepts a lightweight module."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    texts = {
        "light_one": "import json, pydantic\nfrom kib.interfaces import Options\n\ndef heavy():\n    import numpy\n",
        "heavy_one": "import numpy as np\n",
        "broken_one": "import no_such_module_of_any_kind\n",
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text)
    check_light_import("light_one")
    with pytest.raises(
        AssertionError, match="importing this module also imports numpy; import these packages inside the methods"
    ):
        check_light_import("heavy_one")
    with pytest.raises(AssertionError, match="No module named 'no_such_module_of_any_kind'"):
        check_light_import("broken_one")


def test_testing_is_light() -> None:
    """The module of plugin checks imports no slow package."""
    check_light_import("kib.testing")


def test_plugin() -> None:
    """An installed plugin is returned, and a missing plugin raises an error that names the plugin."""
    assert check_plugin("retrievers", "oracle").__name__ == "Oracle"
    with pytest.raises(PluginError, match='no retriever plugin "no-such" is installed'):
        check_plugin("retrievers", "no-such")


def test_tiny_model(tmp_path: Path) -> None:
    """The tiny model depends only on its seed, and its tokens are bytes after the start token `<s>`."""
    pytest.importorskip("torch", reason="the tiny model needs torch")
    pytest.importorskip("transformers", reason="the tiny model needs transformers")
    from safetensors import safe_open
    from transformers import AutoTokenizer

    one, same, other = (make_tiny_model(tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (one / name).read_bytes() == (same / name).read_bytes()
    assert (one / "model.safetensors").read_bytes() != (other / "model.safetensors").read_bytes()
    with safe_open(one / "model.safetensors", "pt") as weights:
        assert sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys()) < 50_000  # noqa: SIM118
    tokenizer = AutoTokenizer.from_pretrained(one)
    for query in QUERIES:
        tokens = tokenizer.encode(query.text)
        assert len(tokens) == len(query.text.encode()) + 1
        assert tokenizer.decode(tokens, skip_special_tokens=True) == query.text


def test_public() -> None:
    """`__all__` lists every public name of the module."""
    made_here = {
        name
        for name, value in vars(kib.testing).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == "kib.testing"
    }
    assert made_here | {"ANSWERS", "DOCUMENTS", "PASSAGES", "QUERIES"} == set(kib.testing.__all__)
