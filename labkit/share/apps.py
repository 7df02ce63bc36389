"""The apps (notebooks/apps): what each of them shows, and a server for them on this machine only.

An app is a panel of the course on its own, for people who do not code (docs/apps.md). It is served
without its code. Nothing comes from another host: Voilà's own templates load fonts and scripts from
a CDN, so ours (base/templates/voila) stand in for them, and a content security policy forbids the
browser every other origin.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import secrets
import socket
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

from labkit.base.errors import InputError, LabkitError
from labkit.base.store import PACKAGE, write_file
from labkit.course import lesson
from labkit.course.journal import notebooks_folder
from labkit.course.labs.design_lab import Studio, named
from labkit.course.labs.merge_lab import Bench, MergeSession, Setting, named_anchors, setting_of
from labkit.course.lesson import KNOWN_PACK, Lab, headless, show_html
from labkit.data.packs import load_pack
from labkit.train.pipeline import run_spec, trainable
from labkit.train.specs import OVERCOOKED, PipelineSpec

# --- the server ------------------------------------------------------------------------------

# In the order of the first page.
APPS = ("designer", "merge_lab", "clinic", "vendor_audit", "judge")
HOST = "127.0.0.1"
# Tell an app, whose process starts in the folder of its notebook, where to write and which pack.
OUT = "LABKIT_APP_OUT"
PACK = "LABKIT_APP_PACK"
LAST_PORT = 65535
# A page whose browser was killed holds a process; a page that is only left alone keeps it.
IDLE_SECONDS = 3600
TEMPLATES = PACKAGE / "base" / "templates" / "voila"
# No other extension of JupyterLab is loaded.
WIDGETS = ["@jupyter-widgets/jupyterlab-manager", "@voila-dashboards/widgets-manager8"]


@dataclass(frozen=True)
class App:
    """An app as the first page names it: the file's name, its title, and what it is for."""

    name: str
    title: str
    words: str


def apps_folder() -> Path:
    return notebooks_folder() / "apps"


def described(folder: Path) -> list[App]:
    """The apps in a folder, each by the heading and the first paragraph of its notebook."""
    found = []
    for name in (name for name in APPS if (folder / f"{name}.ipynb").is_file()):
        first = json.loads((folder / f"{name}.ipynb").read_text("utf-8"))["cells"][0]
        heading, words, *_ = "".join(first["source"]).split("\n\n")
        found.append(App(name, heading.removeprefix("# "), " ".join(words.split())))
    return found


def serve(
    port: int,
    out_dir: Path,
    *,
    folder: Path | None = None,
    pack: str = KNOWN_PACK,
    told: Callable[[str], None] = print,
) -> None:
    """Serve the apps of a folder (by default all five) until Ctrl-C or SIGTERM. pack: what
    designer, merge lab and judge begin with. told: is called with the address once it answers.

    Raises InputError for a port that cannot be used, PackError for a pack, LabkitError when Voilà
    is not installed.
    """
    if importlib.util.find_spec("voila") is None:
        raise LabkitError(
            "the apps need Voilà, which is not installed: pip install 'labkit-lm[app]' brings it"
        )
    check_port(port)
    os.environ |= {OUT: str(out_dir.resolve()), PACK: named(load_pack(pack))}
    os.environ.pop("LABKIT_HEADLESS", None)  # else no app would show a control
    token = secrets.token_urlsafe(24)
    server = _voila(folder or apps_folder(), port, token)
    from tornado.ioloop import IOLoop

    IOLoop.current().add_callback(told, f"http://{HOST}:{port}/?token={token}")
    server.start()


def check_port(port: int) -> None:
    """Raises InputError when no server can be started there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            other = port + 1 if port < LAST_PORT else port - 1
            raise InputError(
                f"port {port} cannot be used ({error.strerror}); give another, as in: "
                f"labkit app --port {other}"
            ) from None


def policy(port: int) -> str:
    """What a page may load, and where it may send something: this server alone."""
    here = f"{HOST}:{port}"
    return (
        "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' "
        "'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        f"connect-src 'self' ws://{here} data: blob:; base-uri 'self'; form-action "
        "'self'; frame-ancestors 'self'; object-src 'none'"
    )


def _voila(folder: Path, port: int, token: str):
    """The server, ready to start.

    Its settings are given here, not on a command line, where others could read the token.
    """
    from traitlets.config import Config
    from voila.app import Voila

    class Server(Voila):
        def setup_template_dirs(self) -> None:
            super().setup_template_dirs()
            self.template_paths.insert(0, str(TEMPLATES))

        def init_settings(self) -> dict:
            settings = super().init_settings()
            settings["voila_jinja2_env"].globals["apps"] = described(folder)
            # so that login.html is ours too
            return {**settings, "jinja2_env": settings["voila_jinja2_env"]}

    # the one application: errors in cells are logged by whichever it is
    server = Server.instance(
        config=Config(
            {
                "Voila": {
                    "ip": HOST,
                    "port": port,
                    "port_retries": 0,
                    "token": token,
                    "root_dir": str(folder),
                    "open_browser": False,
                    "config_file_paths": [],
                    "log_level": "ERROR",
                    "tornado_settings": {
                        "allow_remote_access": False,
                        "headers": {
                            "Content-Security-Policy": policy(port),
                            "Referrer-Policy": "no-referrer",
                        },
                    },
                },
                "VoilaConfiguration": {
                    "template": "lab",
                    "theme": "light",
                    "classic_tree": True,
                    "allow_template_override": "NO",
                    "allow_theme_override": "NO",
                    "file_allowlist": [],
                    "extension_allowlist": WIDGETS,
                    "show_tracebacks": False,
                    "strip_sources": True,
                },
                "VoilaExecutor": {
                    "cell_error_instruction": "What went wrong is told in the "
                    "terminal where labkit app runs."
                },
                "MappingKernelManager": {"cull_idle_timeout": IDLE_SECONDS, "cull_interval": 60},
            }
        )
    )
    server.initialize([])
    return server


# --- what each app shows ---------------------------------------------------------------------

BASE, TWIN = "llama-s-base", "llama-s-twin-instruct"
FAULTS = "fault.txt"
AXES = ("compositional", "instructions", "creativity")  # one question of each is asked


@contextlib.contextmanager
def told() -> Iterator[None]:
    """An error is a sentence on the page; the lines of a fault that labkit did not foresee are kept
    in a file.

    Voilà leaves out what a cell writes to stderr, and would say of an error only that there was
    one.
    """
    try:
        yield
    except LabkitError as error:
        say_error(str(error))
    except Exception:
        path = out_dir() / FAULTS
        write_file(path, traceback.format_exc())
        say_error(f"this is a fault in labkit; please report what is in {path}")


def say_error(sentence: str) -> None:
    show_html(f'<p role="alert"><b>error: {escape(sentence)}</b></p>')


def out_dir() -> Path:
    return Path(os.environ.get(OUT, "out/apps"))


def start(name: str) -> Lab:
    """An app's session; what its panel keeps goes where `labkit app` was told."""
    from IPython.utils.capture import capture_output

    with capture_output():  # the line on pack, model, profile and seed is for notebooks
        return lesson.start(
            f"app_{name}", pack=os.environ.get(PACK, KNOWN_PACK), out_dir=str(out_dir())
        )


def say_where(lab: Lab) -> None:
    show_html(f"<p>What you save goes to <code>{escape(str(lab.out_dir))}</code>.</p>")


def say_domain(lab: Lab) -> None:
    lacks = lesson.what_lacks(lab.pack)
    show_html(f"<p>The domain: <b>{escape(lab.pack.title)}</b>. {escape(lacks)}</p>")


def designer() -> Studio | None:
    """Choices become a design that is checked, advised and costed at once; training waits for a
    button. None where there was an error, which is told.
    """
    from IPython.utils.capture import capture_output

    from labkit.course.labs import design_lab

    with told():
        lab = start("designer")
        say_where(lab)
        say_domain(lab)
        with capture_output():  # what it lacks is told above
            sequence = design_lab.sequence_for(lab)
        return design_lab.studio(lab, model="llama-s", start="instruct", sequence=sequence)
    return None


def dossier(studio: Studio | None) -> None:
    """The case for the designer's design, to fill in and to print; nothing is trained.

    Headless: proposed, shown and written.
    """
    from labkit.course.labs import dossier_lab

    with told():
        if studio is None:  # its error stands above
            return
        if headless():
            dossier_lab.propose(studio.lab, studio.spec)
            dossier_lab.take_home(studio.lab)
            return
        from IPython.display import display

        display(dossier_lab.DossierDesk(studio).whole)


def merge_lab() -> None:
    """Two pairs of shipped models to merge at once; a pair with a specialist, trained first, behind
    a button.
    """
    with told():
        lab = start("merge_lab")
        say_where(lab)
        say_domain(lab)
        shipped = {
            "base and instruct": lab.bench(BASE, lab.model, ("base", "instruct")),
            "instruct and its twin": lab.bench(lab.model, TWIN, ("instruct", "twin")),
        }
        lab.merge_panel(shipped, lab.prompts(*AXES), headless_settings=[Setting("slerp", 0.5)])


def specialist() -> None:
    """The same panel with a specialist of the domain, which a button trains and scores.

    Headless: nothing.
    """
    with told():
        if headless():
            return
        from IPython.display import display

        from labkit.course.panels import LaterPanel

        lab = start("specialist")
        about = (
            "It is trained first, and its merges are scored: one to two minutes. Both are "
            "kept, so the next time takes seconds."
        )
        display(
            LaterPanel(
                lambda progress: specialist_panel(lab, progress),
                "train the specialist and merge it",
                about,
            ).whole
        )


def specialist_panel(lab: Lab, progress: Callable):
    """The merge panel of the instruct model and the overcooked specialist, with its scored grid."""
    from labkit.course.panels import merge_panel

    spec = PipelineSpec(
        pack=str(lab.pack.folder),
        model=lab.model,
        stages=trainable(OVERCOOKED, lab.pack)[0],
        seed=lab.seed,
        profile=lab.profile,
    )
    bench: Bench = lab.bench(
        lab.model, run_spec(spec, progress=progress)[-1], ("instruct", "specialist"), ancestor=BASE
    )
    bench.score_grid()
    session = MergeSession(
        {"instruct and specialist": bench}, tuple(lab.prompts(*AXES)), lab.out_dir
    )
    return merge_panel(session, schedules=named_anchors(), make_setting=setting_of)


def clinic() -> None:
    """The failure clinic. Headless: one visit."""
    from labkit.course.labs import diagnose_lab

    with told():
        lab = start("clinic")
        say_where(lab)
        diagnose_lab.clinic(
            lab, patient=13, orders=["other tokenizer"], diagnosis="wrong chat template"
        )


def vendor_audit() -> None:
    """A vendor's claim to fill in, at first an invented one, and its audit."""
    from labkit.course.labs import design_lab

    with told():
        lab = start("vendor_audit")
        say_where(lab)
        design_lab.question_claim(lab, "invented")


def judge() -> None:
    """Answers of a model one can only ask, scored. Headless: the questions are written."""
    from labkit.course.labs import diagnose_lab

    with told():
        lab = start("judge")
        say_where(lab)
        desk = diagnose_lab.JudgeDesk(lab)
        if headless():
            desk.make_questions()
            return
        from IPython.display import display

        display(desk.whole)
