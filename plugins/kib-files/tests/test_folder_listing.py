import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from kib.errors import InputError
from kib_files.folder_listing import FolderListing, document_id, list_folder

NOBODY = 65534


def list_text(folder: Path, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> FolderListing:
    """List the files in a folder, with `.txt` and `.md` as the supported file extensions."""
    return list_folder(folder, include, exclude, (".txt", ".md"))


def write(path: Path) -> Path:
    """Write a text file and create its parent folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("Some text.", encoding="utf-8")
    return path


def test_order(tmp_path: Path) -> None:
    """The listed files are relative paths, sorted by Unicode code point."""
    for name in ("b.txt", "a/z.TXT", "a.txt", "a/b/c.md", "B.TXT", "ä.txt", "c.xlsx"):
        write(tmp_path / name)
    listing = list_text(tmp_path)
    assert listing.documents == ("B.TXT", "a.txt", "a/b/c.md", "a/z.TXT", "b.txt", "ä.txt")
    assert listing.others == ("c.xlsx",)


def test_patterns(tmp_path: Path) -> None:
    """A file is listed if it matches a pattern of `include` and no pattern of `exclude`, and `*` matches slashes."""
    for name in ("a.md", "a.txt", "drafts/b.md", "manuals/c.md", "manuals/old/d.md"):
        write(tmp_path / name)
    assert list_text(tmp_path, ["*.md"], ["drafts/*", "*/old/*"]).documents == ("a.md", "manuals/c.md")
    with pytest.raises(InputError, match=r"no file matches these patterns in `include`: '\*\.rst', 'docs/\*'"):
        list_text(tmp_path, ["*.rst", "docs/*", "*.md"])


def test_hidden(tmp_path: Path) -> None:
    """Hidden files, hidden folders and Word's lock files are listed separately."""
    for name in ("a.txt", ".git/config", ".notes.txt", "sub/.DS_Store", "~$a.docx"):
        write(tmp_path / name)
    listing = list_text(tmp_path)
    assert listing.documents == ("a.txt",)
    assert listing.hidden == (".git", ".notes.txt", "sub/.DS_Store", "~$a.docx")


def test_links(tmp_path: Path) -> None:
    """A symbolic link within the folder is listed as a file, and a link to a parent folder is not followed."""
    write(tmp_path / "sub" / "a.txt")
    (tmp_path / "b.txt").symlink_to("sub/a.txt")
    (tmp_path / "sub" / "up").symlink_to("..")
    assert list_text(tmp_path) == FolderListing(("b.txt", "sub/a.txt"), (), (), {})


@pytest.mark.parametrize("target", ["outside/secret.txt", "outside"])
def test_link_to_the_outside(tmp_path: Path, target: str) -> None:
    """A link to a file or folder outside the folder raises an error."""
    write(tmp_path / "outside" / "secret.txt")
    folder = write(tmp_path / "inside" / "a.txt").parent
    (folder / "b.txt").symlink_to(tmp_path / target)
    with pytest.raises(InputError, match=r"b\.txt: the link points to a path outside the folder"):
        list_text(folder)
    assert list_text(folder, exclude=["b.txt"]).documents == ("a.txt",)


def test_dangling_links(tmp_path: Path) -> None:
    """A link to a missing file and a link that points to itself are listed as broken."""
    write(tmp_path / "a.txt")
    (tmp_path / "b.txt").symlink_to("missing.txt")
    (tmp_path / "c.txt").symlink_to("c.txt")
    listing = list_text(tmp_path)
    assert listing.documents == ("a.txt",)
    assert listing.broken["b.txt"] == "cannot be read: No such file or directory"
    assert listing.broken["c.txt"].startswith("cannot be read: Too many")


def test_pipe(tmp_path: Path) -> None:
    """A named pipe raises an error, because reading a pipe would never end."""
    os.mkfifo(tmp_path / "b.txt")
    with pytest.raises(InputError, match=r"b\.txt: this is neither a file nor a folder"):
        list_text(tmp_path)


def test_name_not_utf8(tmp_path: Path) -> None:
    """A file name that is not valid UTF-8 raises an error that shows the escaped name."""
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xff.txt")).write_text("x", encoding="utf-8")
    except OSError:
        pytest.skip("this file system accepts only UTF-8 names")
    write(tmp_path / "a.txt")
    with pytest.raises(
        InputError, match=r"the file name 'b\\udcff\.txt' contains unprintable characters or is not valid UTF-8; "
    ):
        list_text(tmp_path)
    assert list_text(tmp_path, exclude=["b?.txt"]).documents == ("a.txt",)


def test_spaces_in_patterns(tmp_path: Path) -> None:
    """A pattern with an ordinary space matches every kind of space in a file name, and vice versa."""
    write(tmp_path / "at\u00a09.41\u202fAM.txt")
    expected = list_text(tmp_path)
    assert list_text(tmp_path, include=["at 9.41 AM.txt"]) == expected
    assert list_text(tmp_path, include=["*\u202fAM.txt"]) == expected


def test_same_id(tmp_path: Path) -> None:
    """Two file names that differ only in the kind of space or accented letter raise an error."""
    write(tmp_path / "at\u00a09.41\u202fAM.txt")
    write(tmp_path / "at 9.41 AM.txt")
    message = r"the file names 'at 9\.41 AM\.txt' and 'at\\xa09\.41\\u202fAM\.txt' differ only in the kind of space or"
    with pytest.raises(InputError, match=message):
        list_text(tmp_path)


def test_accented_letters(tmp_path: Path) -> None:
    """A file name in decomposed Unicode has the id of its composed form, and patterns match both forms."""
    write(tmp_path / "Pru\u0308fung.txt")
    expected = list_text(tmp_path)
    assert list_text(tmp_path, include=["Prüf*.txt"]) == list_text(tmp_path, include=["Pru\u0308*"]) == expected
    assert document_id(expected.documents[0]) == "Prüfung.txt"


@pytest.fixture
def closed_folder() -> Iterator[Path]:
    """Create a folder with an unreadable subfolder `sub`; a test that runs as root temporarily changes the user."""
    user = os.geteuid()
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        write(folder / "a.txt")
        closed = write(folder / "sub" / "c.txt").parent
        closed.chmod(0)
        try:
            if user == 0:
                os.seteuid(NOBODY)
            if not folder.is_dir():
                pytest.skip("only this user can open the folder for temporary files")
            yield folder
        finally:
            os.seteuid(user)
            closed.chmod(0o755)


def test_folder_without_read_permission(closed_folder: Path) -> None:
    """A subfolder without read permission is listed as broken, with a slash after its name."""
    listing = list_text(closed_folder)
    assert listing.documents == ("a.txt",)
    assert listing.broken == {"sub/": "cannot be read: Permission denied"}
    assert list_text(closed_folder, exclude=["sub/*"]).broken == {}
    with pytest.raises(InputError, match="sub: cannot be read: Permission denied"):
        list_text(closed_folder / "sub")
