"""List the sentences of a Wikipedia dump in which the conversion to text left a gap, and count the gaps.

A gap is a template without text directly after a preposition, "and" or "or", with nothing in its place: the next
character ends the sentence or the bracket, or the next word is a preposition, too ("between and 5 km"). The incomplete
ranges "between 5 and." and "5 to." are also gaps. The script needs a dump (pages-articles.xml, also as .bz2 or .gz),
and prints one line per gap: the page, and the sentence with «…» in place of each template without text.
Usage: python bench/wikipedia_gaps.py DUMP [--pages N]
"""

import argparse
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from kib_wikipedia.wikitext_to_text import convert_page
from kib_wikipedia.xml_dump import Page, Site, read_dump

MARK = "\ue000"
"""Replaces a template without text; this private character does not occur in articles."""

WORDS = (
    "about above across against among and approximately around as at below beneath between beyond by costs during "
    "equals exceeding for from in into is measures near nearly of on or over roughly since than through to toward "
    "towards under until up upon via was weighs with within without"
)
WORD = rf"\b(?:{'|'.join(WORDS.split())})\b"
NOTHING = r"[.,;:!?)\]\n]|$"
GAP = re.compile(
    rf"{WORD}:? *{MARK}[ {MARK}]*(?={NOTHING}|{WORD}|high\b|long\b|wide\b|tall\b|deep\b)"
    rf"|\bbetween [^.,;:\n]{{,40}}? and *(?={NOTHING})|\d (?:and|to|or|by|×|±) *(?=[.;:)\]\n]|$)",
    re.IGNORECASE,
)
AROUND = 70
"""The number of characters to print before and after a gap."""


def pages(dump: Path) -> Iterator[tuple[Site, Page]]:
    """Yield the articles of a dump, each with its site."""
    site: Site | None = None
    for entry in read_dump(dump):
        if isinstance(entry, Site):
            site = entry
        elif site and entry.redirect is None and entry.namespace == 0 and entry.model == "wikitext":
            yield site, entry


def gaps(text: str) -> Iterator[str]:
    """Yield the surroundings of each gap in a text, with «…» in the gap."""
    for gap in GAP.finditer(text):
        around = text[max(0, gap.start() - AROUND) : gap.end() + AROUND]
        yield " ".join(around.replace(MARK, "«…»").split())


def main() -> None:
    """Print the gaps, their number, and the most frequent templates that have no text of their own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dump", type=Path)
    parser.add_argument("--pages", type=int, help="the number of articles to read (default: all)")
    options = parser.parse_args()
    count = articles = 0
    names, shown = Counter[str](), Counter[str]()
    for site, page in islice(pages(options.dump), options.pages):
        articles += 1
        converted = convert_page(page.text, site.hidden, mark=MARK)
        names.update(converted.inside_sentences)
        shown.update(converted.shown_by_parameters)
        for gap in gaps(converted.text):
            count += 1
            print(f"{page.title}: {gap}")
    print(f"{count:,} gaps in {articles:,} articles")
    for what, counts in (("left out inside sentences", names), ("replaced with their parameters", shown)):
        listed = ", ".join(f"{name} {number}" for name, number in counts.most_common(30))
        print(f"{counts.total():,} templates {what}: {listed}")


if __name__ == "__main__":
    main()
