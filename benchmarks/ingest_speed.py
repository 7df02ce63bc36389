"""Seconds, peak memory and megabytes per second of `labkit pack new`, against only reading the
bytes.

Run as: python benchmarks/ingest_speed.py [MEGABYTES or FOLDER]. Makes that many megabytes (by
default 50) of mixed text in a temporary folder, the same every time: .txt in three encodings, .md,
.jsonl and .csv of text, questions, .docx, .pdf; with boilerplate, copies and near copies. Of a
FOLDER it reads what is there: real documents share more lines, names and sentences. The pack is
made in a process of its own.
"""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

MEASURED = """
import json, sys, time
from labkit.data.ingest import new_pack
made = new_pack("measured", sys.argv[1], sys.argv[2])
with open("/proc/self/status") as status:  # ru_maxrss would begin with the parent's
    peak = int(next(line for line in status if line.startswith("VmHWM")).split()[1])
print(json.dumps([made.seconds, time.process_time(), peak, made.read, made.rows, made.dropped]))
"""
SHARES = {"txt": 0.5, "md": 0.2, "jsonl": 0.15, "csv": 0.08, "docx": 0.04, "pdf": 0.03}
FILE_BYTES = {"txt": 100_000, "md": 20_000, "docx": 50_000, "pdf": 50_000}
ENCODINGS = ("utf-8", "utf-16", "cp1252")
SYLLABLES = [
    "ka",
    "le",
    "mi",
    "no",
    "ru",
    "sta",
    "ver",
    "den",
    "ig",
    "tor",
    "ul",
    "sh",
    "ém",
    "äl",
    "an",
    "er",
    "pro",
    "con",
    "tri",
    "vel",
]


class Prose:
    """Endless invented prose of forty thousand words, some of them far more frequent than most."""

    def __init__(self):
        self.rng = random.Random(0)
        self.words = [
            "".join(self.rng.choices(SYLLABLES, k=self.rng.randint(1, 4))) for _ in range(40_000)
        ]
        self.totals = [0.0]
        for rank in range(1, 40_000):
            self.totals.append(self.totals[-1] + 1 / rank)

    def paragraph(self) -> str:
        lengths = [self.rng.randint(6, 24) for _ in range(self.rng.randint(3, 7))]
        words = iter(self.rng.choices(self.words, cum_weights=self.totals, k=sum(lengths)))
        return " ".join(
            " ".join(next(words) for _ in range(length)).capitalize() + "." for length in lengths
        )

    def paragraphs(self, size: int) -> Iterator[str]:
        while size > 0:
            paragraph = self.paragraph()
            size -= len(paragraph.encode())
            yield paragraph


def write_text(folder: Path, prose: Prose, kind: str, size: int) -> None:
    """Files with a shared head line and a page number; every twentieth is a near copy of the one
    before.
    """
    kept: list[str] = []
    for number in range(max(1, size // FILE_BYTES[kind])):
        kept = kept[:-1] if number % 20 == 19 else list(prose.paragraphs(FILE_BYTES[kind]))
        text = "\n\n".join(
            ["Handbook of measured things", *kept, f"Page {number + 1} of 9", "Privacy policy"]
        )
        (folder / f"{number:04}.{kind}").write_text(
            text, ENCODINGS[number % 3] if kind == "txt" else "utf-8", errors="replace"
        )


def write_rows(folder: Path, prose: Prose, kind: str, size: int) -> None:
    """Two thirds text, a row a paragraph; a third questions with answers."""
    rows = [
        [f"article {number // 20}", text]
        for number, text in enumerate(prose.paragraphs(size * 2 // 3))
    ]
    pairs = [[f"What does {text[:60]} mean?", text] for text in prose.paragraphs(size // 3)]
    for name, heads, cells in (
        ("text", ("source", "text"), rows),
        ("questions", ("question", "answer"), pairs),
    ):
        with (folder / f"{name}.{kind}").open("w", encoding="utf-8", newline="") as file:
            if kind == "csv":
                csv.writer(file).writerows([heads, *cells])
            else:
                file.writelines(
                    json.dumps(dict(zip(heads, row, strict=True)), ensure_ascii=False) + "\n"
                    for row in cells
                )


def write_docx(folder: Path, prose: Prose, kind: str, size: int) -> None:
    from docx import Document

    for number in range(max(1, size // FILE_BYTES[kind])):
        document = Document()
        for paragraph in prose.paragraphs(FILE_BYTES[kind]):
            document.add_paragraph(paragraph)
        document.save(folder / f"{number:04}.docx")


def write_pdf(folder: Path, prose: Prose, kind: str, size: int) -> None:
    import typst

    for number in range(max(1, size // FILE_BYTES[kind])):
        body = "\n\n".join(prose.paragraphs(FILE_BYTES[kind]))
        (folder / f"{number:04}.pdf").write_bytes(
            typst.compile(f'#set page(header: "Handbook", numbering: "1")\n{body}'.encode())
        )


WRITERS = {
    "txt": write_text,
    "md": write_text,
    "jsonl": write_rows,
    "csv": write_rows,
    "docx": write_docx,
    "pdf": write_pdf,
}


def seconds_to_read(folder: Path) -> float:
    began = time.perf_counter()
    for path in folder.rglob("*.*"):
        path.read_bytes()
    return time.perf_counter() - began


def write_folder(source: Path, megabytes: float) -> None:
    prose = Prose()
    for kind, share in SHARES.items():
        (source / kind).mkdir(parents=True)
        WRITERS[kind](source / kind, prose, kind, int(share * megabytes * 1e6))


def main() -> None:
    asked = sys.argv[1] if len(sys.argv) > 1 else "50"
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(asked)
        if not source.is_dir():
            source = Path(scratch) / "source"
            write_folder(source, float(asked))
        size = sum(path.stat().st_size for path in source.rglob("*.*"))
        reading = seconds_to_read(source)
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, source, Path(scratch) / "pack"],
            capture_output=True,
            text=True,
            check=True,
        )
        seconds, busy, peak, read, rows, dropped = json.loads(done.stdout)
    print(
        f"{source.name}, files of {size / 1e6:.1f} MB: {seconds:.1f} s ({busy:.1f} s of one core), "
        f"{size / 1e6 / seconds:.2f} MB/s, peak RSS {peak / 1e3:.0f} MB "
        f"({peak * 1e3 / size:.1f} times the files)"
    )
    print(
        f"only reading the bytes: {reading:.3f} s, so making a pack takes "
        f"{seconds / reading:,.0f} times as long"
    )
    print(f"in: {read}\nout: {rows}")
    for row in dropped:
        print(f"{row['count']:8,} {row['what']}: {row['reason']}")


if __name__ == "__main__":
    main()
