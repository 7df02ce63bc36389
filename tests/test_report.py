from __future__ import annotations

from pathlib import Path

from labkit import records, report
from labkit.course import Run


def test_page_is_rendered_from_records_and_escaped(tmp_path):
    figure = tmp_path / "figures" / "x.png"
    figure.parent.mkdir()
    figure.write_bytes(b"\x89PNG")
    common = {"notebook": "03_cpt", "pack": "<i>p</i>", "profile": "smoke", "seed": 0, "learner": "me"}
    records.append(tmp_path, "session", **common)
    records.append(tmp_path, "figure", **common, name="x", alt='a "quoted" <alt>', file="figures/x.png")
    runs = [Run("03_cpt", 1.0, Path("x")), Run("04_sft", 2.0, Path("y"), "cell 3: <script>")]
    html = report.course_page(runs, tmp_path, title="T & t").read_text()
    assert "<script>" not in html and "<i>p</i>" not in html and "T &amp; t" in html
    assert html.index("04_sft") < html.index("03_cpt") and "data:image/png;base64,iVBORw==" in html
    assert 'alt="a &#34;quoted&#34; &lt;alt&gt;"' in html
