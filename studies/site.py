"""`make site`: the course's pages, docs, the reference of names and the gallery as one static site.

The pages are gathered into one folder, each at its place in the checkout, so that links between
them stay as they are; MkDocs (mkdocs.yml) makes a site of it. What a page links to and is no page,
such as a module or a dossier, becomes one. The site loads nothing from elsewhere: the search works
when a page is opened as a file, and the drawings' program (mermaid, from the package mmdc) lies
in it.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from labkit.base.errors import InputError, LabkitError
from labkit.base.store import write_whole
from labkit.course.journal import named_notebooks

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "mkdocs.yml"
SHIM = ROOT / "studies" / "vendor" / "iframe-worker" / "shim.js"
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
NEEDED = ("mkdocs", "material", "mmdc")
NO_MKDOCS = (
    "the site is made with MkDocs, which is not installed here; "
    "pip install -c constraints.txt -e '.[site]', or make site"
)
SOURCE = "source"  # of pages made of linked files
# A link or a picture of Markdown outside code: its words, then where it leads and to which place.
LINK = re.compile(r"(\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")
CODE = re.compile(r"(^```.*?^```[^\n]*$|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
# A place in a notebook, as Jupyter calls it: a heading with dashes for its spaces.
PLACE = re.compile(r"\]\(#((?:[^()\s]|\([^()\s]*\))+)\)")
WIDGET = "application/vnd.jupyter.widget-view+json"
LANGUAGES = {".py": "python", ".yaml": "yaml", ".json": "json", ".jsonl": "json"}
STYLE = """:root, [data-md-color-scheme] {
  --md-primary-fg-color: #1b4d5c;
  --md-primary-bg-color: #ffffff;
  --md-primary-bg-color--light: #ffffffb3;
}
.md-grid { max-width: 76rem; }
.md-typeset table:not([class]) { font-size: .68rem; }
.md-typeset table:not([class]) th { min-width: 0; }
.md-typeset pre > code { white-space: pre-wrap; }
"""


@dataclass(frozen=True)
class Site:
    """What was built. page: where to begin. pages: how many there are. ran: the notebooks whose
    outputs are shown.
    """

    page: Path
    pages: int
    ran: tuple[str, ...]


def missing() -> list[str]:
    """The packages of the extra `site` that are not installed."""
    return [name for name in NEEDED if find_spec(name) is None]


def build_site(
    to: Path, *, course: Path | None = None, say: Callable[[str], None] = lambda _: None
) -> Site:
    """The whole site, in a folder that is replaced whole.

    course: the out_dir of `labkit course`, whose outputs the notebooks' pages then show; without it
    they show text and code. Raises InputError where a package or a run is missing or the folder
    holds something else, and LabkitError naming every link that leads nowhere.
    """
    if missing():
        raise InputError(f"{NO_MKDOCS} (missing: {', '.join(missing())})")
    if to.exists() and any(to.iterdir()) and not (to / "search" / "search_index.json").is_file():
        raise InputError(f"{to}: holds something that is no site; give --to another folder")
    executed = _executed(course) if course else {}
    with tempfile.TemporaryDirectory() as folder:
        stage = Path(folder)
        say("gathering pages")
        gather(stage, executed, say)
        say("building")

        def fill(draft: Path) -> None:
            _mkdocs(stage, draft)
            shutil.rmtree(to, ignore_errors=True)  # the site before this one

        write_whole(to, fill)
    pages = sum(1 for _ in to.rglob("*.html"))
    return Site(to / "index.html", pages, tuple(sorted(executed)))


def _executed(course: Path) -> dict[str, Path]:
    found = {path.stem: path for path in sorted((course / "executed").glob("*.ipynb"))}
    if not found:
        raise InputError(
            f"{course}: there is no course run here; labkit course makes one, and --course FOLDER "
            "chooses it"
        )
    return found


def gather(stage: Path, executed: dict[str, Path], say: Callable[[str], None]) -> None:
    """Every page of the site below stage, with what it links to.

    stage: an empty folder. executed: notebooks that were run, by name.
    """
    shutil.copytree(ROOT / "docs", stage / "docs")
    for name in PAGES:
        shutil.copy(ROOT / name, stage / name)
    for name, notebook in named_notebooks().items():
        say(f"notebook {name}")
        _notebook(executed.get(name, notebook), stage / "notebooks" / f"{name}.md")
    (stage / "site").mkdir()
    (stage / "site" / "site.css").write_text(STYLE, "utf-8")
    # the plugin `offline` looks for this name, and would have it loaded from elsewhere
    shutil.copy(SHIM, stage / "site" / "iframe-worker.js")
    shutil.copy(_mermaid(), stage / "site" / "mermaid.js")
    for page in sorted(stage.rglob("*.md")):
        if not page.is_relative_to(stage / SOURCE):
            text = page.read_text("utf-8")
            page.write_text(_as_mkdocs_reads(_linked(text, page, stage)), "utf-8")


def _mermaid() -> Path:
    found = find_spec("mmdc")
    if found is None or found.origin is None:
        raise InputError(NO_MKDOCS)
    return Path(found.origin).parent / "assets" / "mermaid.js"


def _notebook(notebook: Path, page: Path) -> None:
    """A notebook as Markdown, its figures beside it; without the views of widgets, which live only
    in a notebook.
    """
    import nbformat
    from nbconvert import MarkdownExporter
    from pymdownx.slugs import slugify

    slug = slugify(case="lower")
    found = nbformat.read(notebook, as_version=4)
    for cell in found.cells:
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if WIDGET not in one.get("data", {})]
    body, resources = MarkdownExporter().from_notebook_node(
        found, resources={"unique_key": page.stem, "output_files_dir": page.stem}
    )
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(PLACE.sub(lambda place: f"](#{slug(place[1], '-')})", body), "utf-8")
    for name, data in resources["outputs"].items():
        picture = page.parent / name
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_bytes(data)


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    """The text, changed where it is neither a block nor a word of code."""
    parts = CODE.split(text)
    return "".join(part if i % 2 else change(part) for i, part in enumerate(parts))


def _linked(text: str, page: Path, stage: Path) -> str:
    """The page's text with its links to files that are no pages turned to pages made of them."""

    def turned(found: re.Match) -> str:
        opening, target, rest = found[1], found[2], found[3]
        place = _place(page, stage, target)
        if place is None or (stage / place).is_file():
            return found[0]
        made = _page_of(place, stage)
        if made is None:  # leads nowhere: MkDocs says so, with the page's name
            return found[0]
        up = "../" * (len(page.relative_to(stage).parts) - 1)
        return f"{opening}{up}{made}{rest}"

    return _outside_code(text, lambda part: LINK.sub(turned, part))


def _place(page: Path, stage: Path, target: str) -> PurePosixPath | None:
    """Where a link leads, from the checkout's root; None where it leaves the checkout."""
    there = (page.parent / target).resolve()
    root = stage.resolve()
    return PurePosixPath(there.relative_to(root).as_posix()) if root in there.parents else None


def _page_of(place: PurePosixPath, stage: Path) -> PurePosixPath | None:
    """The page that stands for a file or folder of the checkout; made when it is not yet there."""
    if place.suffix == ".ipynb" and (stage / place.with_suffix(".md")).is_file():
        return place.with_suffix(".md")
    file = ROOT / place
    if not file.exists():
        return None
    made = PurePosixPath(SOURCE) / place.parent / f"{place.name}.md"
    page = stage / made
    if not page.exists():
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text("\n".join(_shown(file, place)) + "\n", "utf-8")
    return made


def _shown(file: Path, place: PurePosixPath) -> Iterator[str]:
    """A file's page: its text. A folder's page: the names in it."""
    yield f"# `{place}`\n"
    if file.is_dir():
        yield from (f"- `{path.relative_to(file).as_posix()}`" for path in sorted(file.rglob("*")))
    elif file.suffix == ".ipynb":
        cells = json.loads(file.read_text("utf-8"))["cells"]
        for cell in cells:
            source = "".join(cell["source"])
            yield source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```\n"
    else:
        yield f"````{LANGUAGES.get(file.suffix, 'text')}\n{file.read_text('utf-8')}\n````"


def _as_mkdocs_reads(text: str) -> str:
    """GitHub's Markdown as MkDocs reads it: an empty line before a list, Markdown in <details>."""
    text = re.sub(r"<details>", "<details markdown>", text)
    return _outside_code(
        text,
        lambda part: re.sub(
            r"^(?![-*+] |\d+\. |\s|#|>)(.+)\n([-*+] |1\. )", r"\1\n\n\2", part, flags=re.MULTILINE
        ),
    )


class _Warnings(logging.Handler):
    """Keeps what MkDocs warns of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(" ".join(record.getMessage().split()))


def _mkdocs(stage: Path, to: Path) -> None:
    """Build the gathered pages. Raises LabkitError with everything that MkDocs warns of."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config
    from mkdocs.exceptions import Abort, MkDocsException

    logger, heard = logging.getLogger("mkdocs"), _Warnings()
    logger.addHandler(heard)
    try:
        build(load_config(str(CONFIG), docs_dir=str(stage), site_dir=str(to)))
    except (Abort, MkDocsException) as error:
        told = heard.told or [str(error)]
        raise LabkitError(f"the site was not built:\n{chr(10).join(told)}") from None
    finally:
        logger.removeHandler(heard)
