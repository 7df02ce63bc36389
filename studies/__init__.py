"""The studies behind docs/*.md. Templates of their pages are in pages/."""

from __future__ import annotations

from pathlib import Path


def page(name: str) -> str:
    """The template of a page or of a part of one."""
    return (Path(__file__).parent / "pages" / f"{name}.md").read_text("utf-8")
