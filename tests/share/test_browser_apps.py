"""The five apps in a real browser: no code, no other host, something to see at once, usable on a
telephone.
"""

from __future__ import annotations

import json

import pytest
from apps_case import Watched, browser, served, wait_until
from browser import needs_browser

from labkit.design.designer import problems
from labkit.share import apps as app_server
from labkit.train.specs import load_spec

pytestmark = [needs_browser, pytest.mark.usefixtures("real_kernels")]

CODE = ("from labkit", "apps.", "import ")
LAST = {
    "designer": "make the pages",
    "merge_lab": "train the specialist and merge it",
    "clinic": "this is the cause",
    "vendor_audit": "audit this claim",
    "judge": "judge the answers",
}


@pytest.fixture(scope="module")
def server(real_kernels, tmp_path_factory):
    with served(app_server.apps_folder(), tmp_path_factory.mktemp("apps")) as running:
        yield running


@pytest.fixture(scope="module")
def context(server):
    with browser() as context:
        first = context.new_page()
        first.goto(server.address)
        first.close()
        yield context


@pytest.fixture(scope="module")
def opened(server, context):
    """Each app, opened once by name: a Watched page on which its last control is seen."""
    pages = {}

    def at(name) -> Watched:
        if name not in pages:
            pages[name] = Watched(context.new_page()).listen()
            pages[name].page.goto(server.page(name))
            pages[name].page.get_by_role("button", name=LAST[name]).wait_for()
        return pages[name]

    return at


def too_wide(page) -> int:
    """By how many pixels the page is wider than its window; Voilà scrolls a part of its own."""
    return page.evaluate(
        "(part => part.scrollWidth - "
        "part.clientWidth)(document.querySelector('#rendered_cells') || "
        "document.documentElement)"
    )


def labels_cut_off(page) -> list[str]:
    return page.eval_on_selector_all(
        ".widget-label",
        "nodes => nodes.filter(n => n.offsetParent && n.scrollWidth > n.clientWidth + "
        "1).map(n => n.innerText)",
    )


def test_first_page_names_the_apps_and_leads_to_them(server, context):
    watched = Watched(context.new_page()).listen()
    page = watched.page
    page.goto(f"{server.origin}/")
    apps = app_server.described(app_server.apps_folder())
    assert [link.inner_text() for link in page.get_by_role("link").all()] == [
        app.title for app in apps
    ]
    assert [link.evaluate("a => a.href") for link in page.get_by_role("link").all()] == [
        server.page(app.name) for app in apps
    ]
    page.set_viewport_size({"width": 390, "height": 844})
    assert too_wide(page) == 0 and watched.elsewhere(server.origin) == [] and watched.errors == []
    page.close()


@pytest.mark.parametrize("name", app_server.APPS)
def test_app_shows_its_panel_and_no_code_and_asks_no_other_host(server, opened, name):
    watched = opened(name)
    page, text = watched.page, watched.page.inner_text("body")
    assert page.title().startswith("labkit: ") and page.get_by_role("heading", level=1).count() == 1
    assert (
        not any(code in text for code in CODE) and "Traceback" not in text and "error:" not in text
    )
    assert page.locator(".jp-InputArea-editor:visible, .highlight:visible").count() == 0
    assert page.get_by_role("link", name="all apps").evaluate("a => a.href") == f"{server.origin}/"
    assert watched.asked and watched.elsewhere(server.origin) == [] and watched.errors == []


def test_a_page_says_what_it_waits_for_and_stands_in_one_line(server, context):
    page = context.new_page()
    page.goto(server.page("vendor_audit"), wait_until="commit")
    page.wait_for_selector("text=made on your machine")
    page.get_by_role("button", name=LAST["vendor_audit"]).wait_for()
    told = "#rendered_cells .jp-RenderedHTMLCommon p"
    edges = page.eval_on_selector_all(told, "all => all.map(p => p.getBoundingClientRect().left)")
    assert len(edges) > 2 and len(set(edges)) == 1
    assert "Loading widget" not in page.inner_text("body")
    assert "Profile: lab" not in page.inner_text("body")  # a notebook's line on its session
    page.close()


@pytest.mark.parametrize("name", app_server.APPS)
def test_app_fits_a_telephone_and_a_projector(opened, name):
    page = opened(name).page
    for size in ({"width": 390, "height": 844}, {"width": 1280, "height": 800}):
        page.set_viewport_size(size)
        assert too_wide(page) == 0, size
        assert labels_cut_off(page) == [], size


def test_a_design_is_made_and_saved(server, opened):
    page = opened("designer").page
    page.get_by_label("merge", exact=True).select_option("slerp")
    page.get_by_role("button", name="save the design").click()
    page.wait_for_selector("text=saved as")
    spec = load_spec(server.out / "designs" / "design.yaml")
    assert spec.trail == "cpt-sft-slerp" and problems(spec) == []


def test_a_merge_answers_at_once_and_follows_the_slider(opened):
    page = opened("merge_lab").page
    page.wait_for_selector("text=SLERP, t=0.5")
    assert page.locator("table").first.locator("tr").count() == 4  # a head and three questions
    slider = page.get_by_role("slider").first
    slider.focus()
    slider.press("ArrowRight")
    page.wait_for_selector("text=SLERP, t=0.55")


def test_the_clinic_waits_for_a_button(server, opened):
    page = opened("clinic").page
    assert (
        page.get_by_role("button", name="see the patient").is_enabled()
        and not page.get_by_role("button", name="order").is_enabled()
    )
    assert "up to a minute" in page.inner_text("body")


def test_a_claim_is_audited_and_kept_as_pdf(server, opened):
    page = opened("vendor_audit").page
    page.get_by_role("button", name="audit this claim").click()
    page.wait_for_selector("text=What choosing the best adds")
    assert (server.out / "audits" / "claim.pdf").read_bytes().startswith(b"%PDF")


def test_closing_a_page_ends_its_process(server, context):
    before = len(server.kernels())
    page = context.new_page()
    page.goto(server.page("vendor_audit"))
    page.get_by_role("button", name=LAST["vendor_audit"]).wait_for()
    assert len(server.kernels()) == before + 1
    page.close(run_before_unload=True)
    assert wait_until(lambda: len(server.kernels()) == before)


def test_an_error_in_a_cell_shows_no_traceback(tmp_path, context):
    folder = tmp_path / "apps"
    folder.mkdir()
    notebook = json.loads((app_server.apps_folder() / "designer.ipynb").read_text("utf-8"))
    notebook["cells"][-1]["source"] = "secret = 'in the code'\nraise RuntimeError(secret)"
    (folder / "designer.ipynb").write_text(json.dumps(notebook), "utf-8")
    with served(folder, tmp_path) as broken:
        page = context.new_page()
        page.goto(broken.address)
        page.get_by_role("link").first.click()
        page.wait_for_selector("text=told in the terminal where labkit app runs")
        text = page.inner_text("body")
        page.close()
    assert not any(word in text for word in ("Traceback", "RuntimeError", "secret", "--debug"))
    assert "RuntimeError" in broken.log.read_text()
