"""docs/gallery: pictures for a visitor, from the records and figures of a course run and from the
study's published numbers.

Figures are those that notebooks kept; pages are photographed by Chromium where there is one.
Nothing carries a date, so that the same run leads to the same pixels (on one machine: fonts and
Chromium's version decide about letters).
"""

from __future__ import annotations

import base64
import io
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from labkit.base import records
from labkit.base.errors import InputError
from labkit.base.pages import plain_table, template
from labkit.base.store import write_file
from labkit.course.report import PICTURE_GONE, embedded

WIDEST, MOST_BYTES = 1200, 200 * 1024
RUN = ("pack", "profile", "seed", "learner")
# kinds of records, and what one needs to be of use here
USED = {
    "figure": (*RUN, "notebook", "name", "alt", "file"),
    "gate": (*RUN, "passed", "fallen"),
    "diagnosis": (*RUN, "checkpoint", "diagnosis", "verdict", "found", "remedy"),
}
CLASS_PAGE = "class.html"  # as classroom/class_page.py writes it
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
# nothing is loaded, one pixel is one pixel
FLAGS = (
    # the picture is taken once all images are decoded and drawn, however busy the machine
    "--run-all-compositor-stages-before-draw",
    "--virtual-time-budget=5000",
    "--headless",
    "--disable-gpu",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-sync",
    "--disable-component-update",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)
NO_SCRIPTS = (
    '<head><meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
)
SHOT_SECONDS = 90
NO_CHROMIUM = "no Chromium is installed; on Debian: apt-get install chromium"


class LeftOut(Exception):
    """Why a picture cannot be made from this run; told, and no error."""


@dataclass(frozen=True)
class Source:
    """Where pictures come from. class_dir: of `labkit class`, which holds its page."""

    out_dir: Path
    found: list[dict]
    class_dir: Path


@dataclass(frozen=True)
class Shown:
    """A picture of the gallery: file name without ending, a sentence, and what makes it."""

    name: str
    title: str
    sentence: str
    made_by: str
    draw: Callable[[Source], tuple[bytes, str]]


@dataclass(frozen=True)
class Gallery:
    """What was written, and a sentence for each picture that was not."""

    page: Path
    pictures: list[Path]
    left_out: list[str]


def _kept(notebook: str, name: str) -> Callable[[Source], tuple[bytes, str]]:
    """The figure that a notebook kept under a name, with its alt text."""

    def draw(source: Source) -> tuple[bytes, str]:
        rows = [
            row
            for row in source.found
            if row["kind"] == "figure" and (row["notebook"], row["name"]) == (notebook, name)
        ]
        if not rows:
            raise LeftOut(
                f"no figure {name!r} of {notebook} in the records; run that notebook "
                f"into {source.out_dir}"
            )
        (figure,) = embedded(source.out_dir, rows[-1:])
        if not figure["data"]:
            raise LeftOut(f"{figure['file']}: {PICTURE_GONE}")
        return base64.b64decode(figure["data"]), figure["alt"]

    return draw


def _synergy_by_size(_: Source) -> tuple[bytes, str]:
    from labkit.course.figures import png
    from labkit.course.labs.scale_lab import sizes_figure, sizes_words
    from labkit.data.published import measured_scale

    measured = measured_scale("sizes")
    words = sizes_words(measured)
    return (
        png(sizes_figure(measured)[1]),
        "Merge synergy and forgetting against parameters, with what is reported for "
        f"larger models in words. {words[0].upper()}{words[1:]}",
    )


def _diagnoses(source: Source) -> tuple[bytes, str]:
    """What the gate decided and which diagnoses flagged which checkpoint, as a page of records."""
    gates = [row for row in source.found if row["kind"] == "gate"]
    # a cell may be run twice
    latest = {
        (row["checkpoint"], row["diagnosis"]): row
        for row in source.found
        if row["kind"] == "diagnosis"
    }
    flagged = [row for row in latest.values() if row["verdict"] == "flagged"]
    if not gates or not flagged:
        raise LeftOut(
            "no gate, or no flagged diagnosis, in the records; run 09_diagnose into "
            f"{source.out_dir}"
        )
    fallen = dict.fromkeys(axis for row in gates for axis in row["fallen"])
    told = (
        f"The release gate held a checkpoint back: {' and '.join(fallen)} fell."
        if fallen
        else "The release gate let every checkpoint pass."
    )
    rows = [
        (row["checkpoint"], f"FLAGGED: {row['diagnosis']}", row["found"], row["remedy"])
        for row in flagged
    ]
    from markupsafe import Markup, escape

    body = Markup("<h1>{}</h1><p>{}</p>{}").format(
        "Diagnosis before release",
        told,
        Markup(plain_table(("checkpoint", "diagnosis", "found", "remedy"), rows)),
    )
    with tempfile.TemporaryDirectory(prefix="labkit-gallery-") as folder:
        page = Path(folder) / "diagnoses.html"
        page.write_text(
            template("page.html.j2").render(title="Diagnosis before release", body=escape(body)),
            "utf-8",
        )
        shot = photograph(page)
    return (
        shot,
        f"A table of {len(flagged)} flagged diagnoses with what was found and a remedy. {told}",
    )


def _class_page(source: Source) -> tuple[bytes, str]:
    page = source.class_dir / CLASS_PAGE
    if not page.is_file():
        raise LeftOut(
            f"there is no {page}; run a class (labkit class), or name its folder with --class-dir"
        )
    return (
        photograph(page, height=1000),
        "The page on a class: who failed where and why comes first, then a line per "
        "learner, and what the room designed and found.",
    )


def _designs(source: Source) -> tuple[bytes, str]:
    page = source.out_dir / "designs" / "comparison.html"
    if not page.is_file():
        raise LeftOut(f"there is no {page}; run 01_design into {source.out_dir}")
    return (
        photograph(page, height=1000),
        "The page a design leads to: the design beside two alternatives, each with "
        "what it does, what speaks for it and against it.",
    )


SHOWN = (
    Shown(
        "early-warning",
        "Early warning",
        "The loss alone, and beside it what a probe of a few questions saw while the "
        "same model trained.",
        "notebook `09_diagnose`",
        _kept("09_diagnose", "probe"),
    ),
    Shown(
        "axes-after-cpt",
        "What reading gives and takes",
        "Six scores before and after continued pre-training by two recipes.",
        "notebook `03_cpt`",
        _kept("03_cpt", "axes"),
    ),
    Shown(
        "merge-panel",
        "The merge lab",
        "What the panel draws at every move of a slider: five scores against t, and "
        "the t of every layer.",
        "notebook `06_merge`",
        _kept("06_merge", "panel-0"),
    ),
    Shown(
        "arc-and-line",
        "The arc and the line",
        "Why SLERP and LERP differ for weights far apart, and hardly for weights close together.",
        "notebook `06_merge`",
        _kept("06_merge", "arc-and-line"),
    ),
    Shown(
        "synergy-by-size",
        "Synergy against size",
        "What a merge has over its better parent, and what the specialist forgot, from "
        "tiny models upwards.",
        "`python -m studies evidence --part sizes`",
        _synergy_by_size,
    ),
    Shown(
        "scorecards",
        "Scorecards",
        "Every checkpoint of a course run on every axis, the score written in each cell.",
        "notebook `10_report`",
        _kept("10_report", "scorecards"),
    ),
    Shown(
        "diagnosis-gate",
        "Diagnosis before release",
        "What the release gate decided, and each diagnosis that flagged a checkpoint, "
        "with a remedy.",
        "notebook `09_diagnose`",
        _diagnoses,
    ),
    Shown(
        "designs",
        "Designs compared",
        "A design, two alternatives, and what speaks for each.",
        "notebook `01_design` or `labkit compare`",
        _designs,
    ),
    Shown(
        "class-page",
        "A class on one page",
        "What an instructor opens the morning after; learners are numbered unless "
        "names are asked for.",
        "`labkit class` (docs/class.md)",
        _class_page,
    ),
)


# --- pictures ---------------------------------------------------------------------------------


def chromium() -> str | None:
    """Where Chromium is, if it is installed."""
    return next(filter(None, map(shutil.which, CHROMIUMS)), None)


def photograph(page: Path, *, height: int = 1600) -> bytes:
    """The top of a self-contained HTML page as PNG, WIDEST pixels wide; no script in it runs.

    Raises LeftOut when there is no Chromium, or when it makes no picture.
    """
    program = chromium()
    if program is None:
        raise LeftOut(NO_CHROMIUM)
    with tempfile.TemporaryDirectory(prefix="labkit-shot-") as folder:
        picture, copy = Path(folder) / "page.png", Path(folder) / "page.html"
        copy.write_text(page.read_text("utf-8").replace("<head>", NO_SCRIPTS, 1), "utf-8")
        # Chromium refuses a sandbox to root
        root = ("--no-sandbox",) if hasattr(os, "geteuid") and os.geteuid() == 0 else ()
        command = [
            program,
            *FLAGS,
            *root,
            f"--user-data-dir={folder}/profile",
            f"--window-size={WIDEST},{height}",
            f"--screenshot={picture}",
            copy.as_uri(),
        ]
        try:
            subprocess.run(command, capture_output=True, timeout=SHOT_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise LeftOut(f"Chromium did not answer within {SHOT_SECONDS} s") from None
        if not picture.is_file():
            raise LeftOut(f"{program} made no picture of {page.name}")
        return picture.read_bytes()


def fitted(content: bytes) -> bytes:
    """A PNG at most WIDEST pixels wide, on white, without an empty foot, in as few colours as
    MOST_BYTES takes.

    Raises InputError for what is no readable picture.
    """
    from PIL import Image, ImageChops, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as opened:
            whole = opened.convert("RGBA")
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
        raise InputError(
            f"not a readable picture ({error}); run the notebook that made it again"
        ) from None
    flat = Image.new("RGB", whole.size, "white")
    flat.paste(whole, mask=whole.getchannel("A"))
    inked = ImageChops.difference(flat, Image.new("RGB", flat.size, "white")).getbbox()
    flat = flat.crop(
        (0, 0, flat.width, min(flat.height, (inked[3] if inked else flat.height) + 24))
    )
    if flat.width > WIDEST:
        flat = flat.resize(
            (WIDEST, round(flat.height * WIDEST / flat.width)), Image.Resampling.LANCZOS
        )
    for colours in (256, 128, 64, 32, 16):
        buffer = io.BytesIO()
        flat.quantize(colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
            buffer, "PNG", optimize=True
        )
        if buffer.tell() <= MOST_BYTES:
            return buffer.getvalue()
    raise InputError(
        f"a picture of {flat.width} × {flat.height} pixels stays above "
        f"{MOST_BYTES // 1024} KB; draw it smaller"
    )


# --- the gallery ------------------------------------------------------------------------------


def build_gallery(
    out_dir: Path,
    to: Path,
    *,
    class_dir: Path = Path("out/class"),
    say: Callable[[str], None] = lambda _: None,
) -> Gallery:
    """Write every picture that can be made, and README.md with their alt texts; pictures of an
    earlier call that cannot are removed.

    Raises InputError for a folder without a course's figures, or with a record or picture that
    cannot be used, StoreError when nothing can be written.
    """
    found = [
        row
        for row in records.read(out_dir)
        if row["kind"] in USED and all(key in row for key in USED[row["kind"]])
    ]
    figures = [row for row in found if row["kind"] == "figure"]
    if not figures:
        raise InputError(
            f"{out_dir}: there is no course run here, or it kept no figure; run make "
            "course, or name its folder with --out-dir"
        )
    run = {key: figures[-1][key] for key in RUN}  # a folder may hold several; the last one is shown
    source = Source(
        out_dir,
        [row for row in found if all(row[key] == value for key, value in run.items())],
        class_dir,
    )
    made, left_out = [], []
    for shown in SHOWN:
        say(shown.title)
        path = to / f"{shown.name}.png"
        try:
            content, alt = shown.draw(source)
            write_file(path, fitted(content))
        except LeftOut as reason:
            path.unlink(missing_ok=True)
            left_out.append(f"{shown.name}: {reason}")
        except InputError as error:
            raise InputError(f"{shown.name}: {error}") from None
        else:
            made.append((shown, path, alt))
    page = to / "README.md"
    write_file(page, _page(made, run))
    return Gallery(page, [path for _, path, _ in made], left_out)


def _page(made: Sequence[tuple[Shown, Path, str]], run: dict) -> str:
    told = ", ".join(f"{key} {_text(run[key])}" for key in ("profile", "pack", "seed"))
    head = (
        "# Gallery\n\nWritten by `make gallery` (`python -m studies gallery`) from a course run: "
        f"{told}. Intervals are 95%; do not edit by hand.\n"
    )
    parts = [
        f"## {shown.title}\n\n![{_text(alt)}]({path.name})\n\n{shown.sentence} Made by "
        f"{shown.made_by}.\n"
        for shown, path, alt in made
    ]
    return "\n".join((head, *parts))


def _text(words: object) -> str:
    """Words that Markdown shows as they are, on one line."""
    return "".join(
        f"\\{letter}" if letter in r"\`*_[]<>!#|$&" else letter
        for letter in " ".join(str(words).split())
    )
