"""Pages as documents, and what every page must be, that of a run and that of a study."""

import base64
import hashlib
import itertools
import json
import re
from html.parser import HTMLParser

VOID = {"meta", "link", "img", "br"}


class Document(HTMLParser):
    """A page's elements, its text outside of scripts, and whether every tag is closed."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        else:
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def check_whole(html: str) -> tuple[Document, list[str], set[str]]:
    """One document of moderate size; it, its ids, and the names that elements go by."""
    document = Document(html)
    assert document.open == []
    assert len(html.encode()) < 5_000_000
    assert document.all("html") == [{"lang": "en"}]
    ids = [a["id"] for _, a in document.elements if "id" in a]
    assert len(ids) == len(set(ids))
    named = {a["aria-labelledby"] for _, a in document.elements if "aria-labelledby" in a}
    return document, ids, named


def check_scripts(document: Document) -> list[str]:
    """Scripts that the page's own policy names, and no others; all but the data."""
    [policy] = [a["content"] for a in document.all("meta") if "http-equiv" in a]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe-eval" not in policy
    data, *scripts = document.scripts
    json.loads(data)
    hashes = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    assert re.findall(r"'sha256-([^']*)'", policy) == hashes
    assert not any(name.startswith("on") for _, a in document.elements for name in a)
    return scripts


def check_headings(document: Document) -> None:
    """Headings follow each other; pictures, columns and tables have names."""
    levels = [int(tag[1]) for tag, _ in document.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert all(image["alt"] for image in document.all("img"))
    assert all(head["scope"] in ("col", "row") for head in document.all("th"))
    assert len(document.all("table")) == len(document.all("caption"))
