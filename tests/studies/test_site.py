"""The site as `make site` builds it: every page there, every link leads somewhere, nothing loaded
from elsewhere, and the search works in a page opened as a file.
"""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import ClassVar
from urllib.parse import unquote, urlsplit

import pytest
from apps_case import Watched, browser
from browser import needs_browser

from labkit.base.errors import InputError, LabkitError
from labkit.course.journal import named_notebooks
from studies import site

needs_mkdocs = pytest.mark.skipif(bool(site.missing()), reason=site.NO_MKDOCS)


class Page(HTMLParser):
    """The places of a page, its links, and what a browser loads for it."""

    LOADED: ClassVar = {
        "script": "src",
        "img": "src",
        "link": "href",
        "iframe": "src",
        "source": "src",
    }

    def __init__(self, html: str):
        super().__init__()
        self.places, self.links, self.loaded = set(), [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.places |= {found.get("id"), found.get("name")}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        if found.get(self.LOADED.get(tag, "")) and found.get("rel") != "canonical":
            self.loaded.append(found[self.LOADED[tag]])


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return site.build_site(tmp_path_factory.mktemp("site") / "site")


@pytest.fixture(scope="module")
def pages(built):
    root = built.page.parent
    return {path: Page(path.read_text("utf-8")) for path in root.rglob("*.html")}


@needs_mkdocs
def test_every_page_of_docs_and_every_notebook_is_in_the_navigation(built, pages):
    root = built.page.parent
    linked = {
        (built.page.parent / unquote(urlsplit(link).path)).resolve()
        for link in pages[built.page].links
        if not urlsplit(link).scheme
    }
    told = {root / "docs" / f"{path.stem}.html" for path in (site.ROOT / "docs").glob("*.md")}
    told |= {root / "notebooks" / f"{name}.html" for name in named_notebooks()}
    told |= {root / "docs" / "gallery" / "index.html", root / "CONTRIBUTING.html"}
    assert told <= set(pages) and {path.resolve() for path in told} <= linked


@needs_mkdocs
def test_every_link_leads_to_a_page_and_to_a_place_in_it(built, pages):
    lost, followed = [], 0
    for path, page in pages.items():
        if path.name == "404.html":  # its links begin at the server's root
            continue
        for link in page.links:
            target = urlsplit(link)
            if target.scheme:
                continue
            there = (path.parent / unquote(target.path)).resolve() if target.path else path
            place = unquote(target.fragment)
            known = pages[there].places if there in pages else set()
            followed += 1
            if not there.is_file() or (place and there in pages and place not in known):
                lost.append(f"{path.relative_to(built.page.parent)}: {link}")
    assert not lost and followed > 1000


@needs_mkdocs
def test_nothing_is_loaded_from_elsewhere(built, pages):
    loaded = {urlsplit(one).scheme or one for page in pages.values() for one in page.loaded}
    assert not {one for one in loaded if one in ("http", "https") or one.startswith("//")}
    for path in built.page.parent.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*['\"]?(https?:)?//", path.read_text("utf-8")), path


@needs_mkdocs
def test_what_is_found_is_the_text_of_all_pages(built):
    index = json.loads((built.page.parent / "search" / "search_index.json").read_text("utf-8"))
    found = {entry["location"].partition("#")[0] for entry in index["docs"]}
    assert {"docs/api.html", "docs/gallery/index.html", "notebooks/03_cpt.html"} <= found
    assert any("catastrophic forgetting" in entry["text"] for entry in index["docs"])


@needs_mkdocs
@needs_browser
def test_a_page_opened_as_a_file_is_searched_and_its_drawings_are_drawn(built):
    with browser() as context:
        watched = Watched(context.new_page()).listen()
        page = watched.page
        page.goto((built.page.parent / "docs" / "architecture.html").as_uri())
        # Material draws into a closed shadow tree, in a division as high as the drawing
        page.wait_for_function(
            "() => [...document.querySelectorAll('div.mermaid')].filter(e => e.clientHeight > 50)"
            ".length == 4"
        )
        page.click(".md-search__input")
        page.keyboard.type("catastrophic forgetting")
        page.wait_for_selector(".md-search-result__item")
        assert "notebooks/03_cpt.html" in page.inner_html(".md-search-result__list")
        assert {urlsplit(url).scheme for url in watched.asked} <= {"file", "data", "blob"}
        assert not watched.errors


@needs_mkdocs
def test_a_link_that_leads_nowhere_ends_the_build_with_its_page(tmp_path):
    stage = tmp_path / "stage"
    stage.mkdir()
    (stage / "README.md").write_text("# One\n\n[two](two.md) and [three](#three)\n")
    with pytest.raises(LabkitError) as error:
        site._mkdocs(stage, tmp_path / "site")
    assert "'two.md'" in str(error.value) and "'#three'" in str(error.value)


def test_what_cannot_be_used_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(site, "missing", lambda: [])
    (tmp_path / "mine.txt").write_text("stays")
    with pytest.raises(InputError, match="holds something that is no site; give --to another"):
        site.build_site(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "stays"
    with pytest.raises(InputError, match="there is no course run here"):
        site.build_site(tmp_path / "site", course=tmp_path)
    monkeypatch.setattr(site, "missing", lambda: ["mkdocs"])
    with pytest.raises(InputError, match=r"not installed here; .*\(missing: mkdocs\)"):
        site.build_site(tmp_path / "site")


def test_links_and_lists_are_turned_outside_code_only(tmp_path):
    page = tmp_path / "docs" / "a.md"
    page.parent.mkdir()
    text = "[m](../labkit/__init__.py#L3), [w](https://x.y/z), `[m](../labkit/__init__.py)`\n"
    turned = site._linked(text, page, tmp_path)
    assert turned == text.replace("../labkit/__init__.py#", "../source/labkit/__init__.py.md#")
    assert "```python\n" in (tmp_path / "source" / "labkit" / "__init__.py.md").read_text()
    listed = "words\n- one\n- two\n\n```\nwords\n- one\n```\n"
    assert site._as_mkdocs_reads(listed) == listed.replace("words\n- one", "words\n\n- one", 1)
