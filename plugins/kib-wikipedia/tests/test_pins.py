import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kib.errors import InputError
from kib_wikipedia.api import Api
from kib_wikipedia.command import main


@pytest.fixture
def anatomy(wiki: Any) -> Any:
    """A wiki with pages that link to each other, redirects and two levels of categories."""
    wiki.add("Anatomy", "'''Anatomy''' is a science.", links=("Bone", "Muscles", "Nerve", "Nowhere", "Anatomy"))
    wiki.add("Bone", "A [[bone]] is hard. [[Datei:B.jpg|mini]]", links=("Marrow",), categories=("Category:Body",))
    wiki.add("Muscle", "A muscle is soft.", categories=("Category:Body",))
    wiki.add("Muscles", redirect="Muscle")
    wiki.add("Nerve", "A nerve tells.", categories=("Category:Deep",))
    wiki.add("Marrow", "Marrow is in bones.", categories=("Category:Body",))
    wiki.add("Category:Deep", ns=14, categories=("Category:Body", "Category:Deep"))
    wiki.add("Talk:Bone", "No.", ns=1, categories=("Category:Body",))
    return wiki


def ids(plugin: Any) -> list[str]:
    return [document.id for document in plugin.documents()]


def test_pages(anatomy: Any, pinned: Any, tmp_path: Path) -> None:
    """Pinned pages are documents by title, with the revision as source; a redirect on the way is another name."""
    plugin = pinned(pages=["Muscles", "anatomy"])
    plugin.pin()
    documents = list(plugin.documents())
    assert [document.id for document in documents] == ["Anatomy", "Muscle"]
    assert documents[0].text == "Anatomy is a science."
    assert documents[0].source == "https://test.example/wiki/Anatomy?oldid=1000"
    assert plugin.aliases() == {"Muscles": "Muscle"}
    assert plugin.notes()["date"] == "2024-05-01"
    assert sorted(path.name for path in (tmp_path / "w.pins.pages").iterdir()) == ["1000.wikitext", "1002.wikitext"]


def test_links(anatomy: Any, pinned: Any) -> None:
    """`link_depth` takes the pages that pages link to, over many answers; links to nothing are counted."""
    plugin = pinned(pages=["Anatomy"], link_depth=1)
    assert plugin.pin().missing == 1
    assert ids(plugin) == ["Anatomy", "Bone", "Muscle", "Nerve"]
    plugin = pinned(pages=["Anatomy"], link_depth=2)
    plugin.pin(again=True)
    assert ids(plugin) == ["Anatomy", "Bone", "Marrow", "Muscle", "Nerve"]


def test_categories(anatomy: Any, pinned: Any) -> None:
    """A category's pages of the namespaces asked for, over many answers, and those of categories below, once each."""
    plugin = pinned(categories=["Category:Body"])
    plugin.pin()
    assert ids(plugin) == ["Bone", "Marrow", "Muscle"]
    plugin = pinned(categories=["Category:Body"], category_depth=3)
    plugin.pin(again=True)
    assert ids(plugin) == ["Bone", "Marrow", "Muscle", "Nerve"]


def test_rebuilt(anatomy: Any, pinned: Any, tmp_path: Path) -> None:
    """A pinned corpus is the same after the wiki has changed, from the store or, without it, from the wiki again."""
    plugin = pinned(pages=["Bone"])
    plugin.pin()
    before = list(plugin.documents())
    anatomy.edit("Bone", "Something else.")
    asked = len(anatomy.asked)
    assert list(pinned(pages=["Bone"]).documents()) == before
    assert len(anatomy.asked) == asked
    (tmp_path / "w.pins.pages" / "1001.wikitext").unlink()
    assert list(pinned(pages=["Bone"]).documents()) == before
    assert len(anatomy.asked) == asked + 1


def test_as_of(anatomy: Any, pinned: Any) -> None:
    """`as_of` pins the last revision of that day; pages that were not there yet are left out, or an error if named."""
    anatomy.edit("Bone", "A bone is old.")
    anatomy.edit("Bone", "A bone is new.", since="2024-07-01T00:00:00Z")
    plugin = pinned(categories=["Category:Body"], as_of="2024-06-30")
    assert plugin.pin().missing == 0
    assert next(plugin.documents()).text == "A bone is old."
    plugin = pinned(categories=["Category:Body"], as_of="2024-05-01")
    plugin.pin(again=True)
    assert next(plugin.documents()).text == "A bone is hard."
    with pytest.raises(InputError, match="no such page on 2024-04-30: 'Bone'"):
        pinned(pages=["Bone"], as_of="2024-04-30").pin(again=True)


def test_loading_asks_nothing(anatomy: Any, pinned: Any) -> None:
    """Building the plugin and its fingerprint send nothing; pins that are not there are an error with the command."""
    plugin = pinned(pages=["Bone"])
    with pytest.raises(
        InputError, match=r"w\.pins: no such file; `kib-wikipedia pin SPEC` asks the wiki and writes it"
    ):
        plugin.fingerprint()
    with pytest.raises(InputError, match=r"w\.pins: no such file"):
        ids(plugin)
    assert anatomy.asked == []


def test_other_selection(anatomy: Any, pinned: Any) -> None:
    """Pins of another selection are an error, not another corpus under the same name."""
    pinned(pages=["Bone"]).pin()
    for options in (
        {"pages": ["Muscle"]},
        {"pages": ["Bone"], "link_depth": 1},
        {"pages": ["Bone"], "namespaces": [1]},
    ):
        with pytest.raises(InputError, match=r"w\.pins: pins another selection than the one asked for"):
            pinned(**options).fingerprint()


def test_changed_in_the_store(anatomy: Any, pinned: Any, tmp_path: Path) -> None:
    """A page that was changed in the store is fetched again, for it is not what was pinned."""
    plugin = pinned(pages=["Bone"])
    plugin.pin()
    before = list(plugin.documents())
    (tmp_path / "w.pins.pages" / "1001.wikitext").write_text("Changed.", encoding="utf-8")
    assert list(plugin.documents()) == before


def test_revision_is_gone(anatomy: Any, pinned: Any) -> None:
    """A revision that the wiki no longer gives is an error that names page and revision."""
    plugin = pinned(pages=["Bone"])
    plugin.pin()
    del anatomy.pages["Bone"]
    with pytest.raises(InputError, match="1 pinned revisions are no longer given, such as 1001 of 'Bone'"):
        ids(plugin)


def test_other_text(anatomy: Any, pinned: Any) -> None:
    """A text that is not the one that was pinned is an error."""
    plugin = pinned(pages=["Bone"])
    plugin.pin()
    anatomy.pages["Bone"].text = "Vandalized."
    with pytest.raises(InputError, match="revision 1001 of 'Bone' is not the text that was pinned"):
        ids(plugin)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pages": ["Bone", "No such", "Neither"]}, "no such page: 'No such', 'Neither'; 2 in all"),
        ({"pages": ["Talk:Bone"]}, "no such page: 'Talk:Bone'"),
        ({"categories": ["Body"]}, "'Body' has no members; is its name right, with `Category:`"),
        ({"pages": ["Anatomy"], "link_depth": 1, "limit": 3}, "the selection has more than 3 pages"),
        ({"categories": ["Category:Body"], "limit": 2}, "the selection has more than 2 pages; choose less or raise"),
    ],
)
def test_wrong_selection(anatomy: Any, pinned: Any, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    """A page or category that is not there, and a selection that is too large, are errors before anything is pinned."""
    with pytest.raises(InputError, match=re.escape(message)):
        pinned(**options).pin()
    assert not (tmp_path / "w.pins").exists()


def test_no_wikitext(anatomy: Any, pinned: Any) -> None:
    """Pages that are no wikitext are not pinned."""
    anatomy.add("Data", "{}", model="json", categories=("Category:Body",))
    plugin = pinned(categories=["Category:Body"])
    plugin.pin()
    assert "Data" not in ids(plugin)


def test_not_by_accident(anatomy: Any, pinned: Any) -> None:
    """Pins that are there are replaced only where that is asked for."""
    pinned(pages=["Bone"]).pin()
    with pytest.raises(InputError, match=r"w\.pins: is there already; `--again` replaces it by the newest revisions"):
        pinned(pages=["Bone"]).pin()


@pytest.mark.parametrize(
    "content", ["", "{}\n", "no\n", '{"schema": 2}\n', '{"schema": 1, "selection": {"api": "x"}}\n']
)
def test_no_pin_file(pinned: Any, tmp_path: Path, content: str) -> None:
    """A file that holds no pins is an error that says so."""
    (tmp_path / "w.pins").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"w\.pins:1: not a pin file of kib-wikipedia"):
        pinned(pages=["Bone"]).fingerprint()


BUSY = {"error": {"code": "maxlag", "info": "Waiting for a database server: 7 seconds lagged"}}


@pytest.mark.parametrize(
    ("faults", "waits"),
    [
        ([(429, "7")], [7.0]),
        ([(503, ""), (500, ""), (502, "")], [1.0, 2.0, 4.0]),
        (["cut"], [1.0]),
        ([BUSY, "cut", (429, "3")], [5.0, 2.0, 3.0]),
    ],
)
def test_patience(anatomy: Any, faults: list[Any], waits: list[float]) -> None:
    """Busy, broken and cut answers are asked for again, when the wiki says, else after longer each time."""
    slept: list[float] = []
    anatomy.faults[:] = faults
    api = Api(anatomy.address, "me@example.org", 0, slept.append)
    [answer] = api.query({"prop": "revisions", "titles": "Bone"})
    api.close()
    assert answer["pages"][0]["title"] == "Bone"
    assert slept == waits


@pytest.mark.parametrize(
    ("fault", "message", "tries"),
    [
        ((503, ""), "the wiki answers 503 after 7 tries; what was fetched is kept, run again to go on", 7),
        ((429, "86400"), "the wiki answers 429 after 1 tries", 1),
        ("cut", "the connection failed (RemoteProtocolError) after 7 tries", 7),
        (BUSY, "the wiki is busy (maxlag: Waiting for a database server: 7 seconds lagged) after 7 tries", 7),
        ((403, ""), "the wiki refuses the request (403); is this its api.php?", 1),
        ((404, ""), "the wiki refuses the request (404)", 1),
        ({"error": {"code": "badvalue", "info": "No."}}, "the wiki refuses the request (badvalue: No.)", 1),
        ("<html>", "answers no JSON; is this the api.php of a MediaWiki?", 1),
        ("[]", "answers no JSON object", 1),
    ],
)
def test_end_of_patience(anatomy: Any, fault: Any, message: str, tries: int) -> None:
    """What repeating cannot help, or did not help, is one sentence that names the address."""
    anatomy.faults[:] = [fault] * 20
    api = Api(anatomy.address, "me@example.org", 0, lambda _: None)
    with pytest.raises(InputError, match=re.escape(f"{anatomy.address}: {message}")):
        list(api.query({"prop": "revisions", "titles": "Bone"}))
    api.close()
    assert len(anatomy.asked) == tries


def test_nobody_there() -> None:
    """An address where nobody answers is one sentence."""
    api = Api("http://127.0.0.1:9/w/api.php", "me@example.org", 0, lambda _: None)
    with pytest.raises(InputError, match=r"api\.php: the connection failed \(ConnectError\) after 7 tries"):
        list(api.query({"prop": "revisions", "titles": "Bone"}))
    api.close()


def test_polite(anatomy: Any) -> None:
    """Each request says whose program asks and heeds the lag of the wiki; between two there is a pause."""
    slept: list[float] = []
    api = Api(anatomy.address, "me@example.org", 30, slept.append)
    for _ in range(3):
        list(api.query({"prop": "revisions", "titles": "Bone"}))
    api.close()
    assert all(re.match(r"kib-wikipedia/\S+ \(me@example\.org\) httpx2/", agent) for agent in anatomy.agents)
    assert {asked["maxlag"] for asked in anatomy.asked} == {"5"}
    assert len(slept) == 2
    assert all(20 < seconds <= 30 for seconds in slept)


def test_goes_on(anatomy: Any, pinned: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was fetched before the wiki failed is kept, and only the rest is asked for again."""
    monkeypatch.setattr("kib_wikipedia.pins.AT_ONCE", 2)
    monkeypatch.setattr("kib_wikipedia.api.TRIES", 1)
    plugin = pinned(categories=["Category:Body"])
    plugin.pin()
    anatomy.faults[:] = [None, (503, "")]
    with pytest.raises(InputError, match="the wiki answers 503"):
        ids(plugin)
    asked = len(anatomy.asked)
    assert ids(plugin) == ["Bone", "Marrow", "Muscle"]
    assert [len(question["revids"].split("|")) for question in anatomy.asked[asked:]] == [1]


SPEC = """
schema = 1
name = "wiki"

[models.none]
plugin = "lm-eval"
backend = "dummy"

[corpora.anatomy]
plugin = "wikipedia"
pins = "anatomy.pins"
pages = ["Anatomy"]
link_depth = 1
api = "{address}"
contact = "me@example.org"
pause = 0

[retrievers.gold]
plugin = "oracle"

[tasks.quiz]
plugin = "file"
path = "quiz.jsonl"
corpus = "anatomy"

[methods.base]

[methods.gold]
retrieve = "gold"
"""


@pytest.fixture
def spec(anatomy: Any, tmp_path: Path) -> Path:
    path = tmp_path / "wiki.toml"
    path.write_text(SPEC.replace("{address}", anatomy.address), encoding="utf-8")
    question = {"id": "q", "question": "What is soft?", "options": ["muscle", "bone"], "answer": "A"}
    gold = {"document": "Muscles"}
    (tmp_path / "quiz.jsonl").write_text(json.dumps({**question, **gold}) + "\n", encoding="utf-8")
    return path


def test_command(anatomy: Any, spec: Path) -> None:
    """`kib-wikipedia pin SPEC` writes the pins of a benchmark file's corpora and says what they hold."""
    run = CliRunner().invoke(main, ["pin", str(spec)])
    assert run.exit_code == 0, run.output
    pins = spec.with_name("anatomy.pins")
    said = f"anatomy: 4 pages and 1 redirects of Testwiki in {pins}; 1 linked titles have no page\n"
    assert run.output == said
    again = CliRunner().invoke(main, ["pin", str(spec), "anatomy"])
    assert (again.exit_code, again.output) == (
        2,
        f"Error: {pins}: is there already; `--again` replaces it by the newest revisions\n",
    )
    assert CliRunner().invoke(main, ["pin", "--again", str(spec), "anatomy"]).exit_code == 0
    other = CliRunner().invoke(main, ["pin", str(spec), "other"])
    assert (other.exit_code, "there is: anatomy" in other.output) == (2, True)


def test_warnings_of_pins(anatomy: Any, pinned: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A pinned page without text is left out, counted and named."""
    anatomy.add("Empty", "{{box}}", categories=("Category:Body",))
    plugin = pinned(categories=["Category:Body"])
    plugin.pin()
    with caplog.at_level(logging.WARNING):
        assert ids(plugin) == ["Bone", "Marrow", "Muscle"]
    assert "1 pages without text left out: Empty" in caplog.text
    assert plugin.notes()["empty"] == 1


def test_benchmark(anatomy: Any, spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A benchmark fetches the pinned pages when it is checked or run; gold may name a page by what redirects to it."""
    from kib.cli import main as kib

    def call(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as stop:
            kib([*arguments], prog_name="kib")
        said = capsys.readouterr()
        return int(stop.value.code or 0), said.out + said.err

    work = ("--work", str(spec.with_name("work")))
    code, said = call("check", str(spec), *work)
    assert (code, "anatomy.pins: no such file; `kib-wikipedia pin SPEC`" in said) == (2, True)
    assert anatomy.asked == []
    assert CliRunner().invoke(main, ["pin", str(spec)]).exit_code == 0
    results = ("--results", str(spec.with_name("results")))
    code, said = call("run", str(spec), *work, *results)
    assert code == 0, said
    code, said = call("show", "none/gold/quiz,0-shot", *work, *results)
    assert code == 0, said
    assert "1 of 1" in said or "0 of 1" in said
    counts = "corpus anatomy: 4 documents, 4 passages, 67 characters"
    origin = "from Testwiki, https://test.example/wiki/; licence CC BY-SA; as of 2024-05-01; digest "
    assert f"{counts}; {origin}" in said
    assert "of its making: redirects 1, redirects resolved 1" in said


def test_pins_need_no_more_than_the_corpus(anatomy: Any, tmp_path: Path) -> None:
    """A file that `kib retrieve` takes, without models, tasks and methods, has its pages pinned as well."""
    corpus = SPEC[SPEC.index("[corpora.anatomy]") : SPEC.index("[tasks.quiz]")].replace("{address}", anatomy.address)
    path = tmp_path / "part.toml"
    path.write_text(f'schema = 1\nname = "part"\n\n{corpus}', encoding="utf-8")
    run = CliRunner().invoke(main, ["pin", str(path)])
    assert run.exit_code == 0, run.output
    assert (tmp_path / "anatomy.pins").is_file()
