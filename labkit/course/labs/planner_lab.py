"""What notebook 08 shows of cost: a plan in sentences, the paper's recipe, predictions checked.

`CostSession` computes, draws and tells. The panel at the end only wires: model, method, cards,
tokens, batch, length and price lead to a figure and sentences.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import ipywidgets as widgets

from labkit.base.inputs import read_yaml
from labkit.base.pages import plain_table
from labkit.base.stats import Interval
from labkit.course.figures import png
from labkit.course.labs import views
from labkit.course.lesson import Guess, Lab, headless, say, show_html
from labkit.course.panels import guarded_into
from labkit.data.packs import samples_folder
from labkit.design.planner import (
    SIZE_HEADS,
    AtSize,
    Costs,
    Settings,
    SpecPlan,
    at_sizes,
    below_two_billion,
    between,
    costs_of,
    design_rows,
    gpus,
    plan_spec,
    size_rows,
    told,
)
from labkit.design.planner_speed import (
    kind_of,
    known_speed,
    measure,
    own_training,
    probe_speed,
    resident_memory,
    step_seconds,
)
from labkit.models.architecture import architecture_of, known_configs
from labkit.models.zoo import known_names
from labkit.train.specs import PipelineSpec, Stage

LENGTHS = (512, 8192)  # between which LoRA's share of the FLOPs is told
# A step of neither of the probe's sizes.
CHECK = Stage(kind="cpt", learning_rate=1e-6, steps=8, batch_size=24, max_length=96)


@dataclass
class CostSession:
    """What the panel leads to: compute with `look`, draw with `draw`, tell with `sentences`."""

    settings: Settings
    guess: float | None = None

    def models(self) -> list[str]:
        return [*known_configs(), *known_names()]

    def cards(self) -> list[str]:
        return list(gpus())

    def look(self, settings: Settings) -> Costs:
        """Plan the settings with every method. Raises InputError for what cannot be planned."""
        return costs_of(settings)

    def figure(self, found: Costs):
        return views.cost(found.methods, list(gpus().values()), found.card, self.guess)

    def draw(self, found: Costs) -> bytes:
        return png(self.figure(found))

    def sentences(self, found: Costs) -> str:
        """The plan in words, as HTML."""
        return plain_table(("", "planned"), told(found)) + remedies_table(found)


def remedies_table(found: Costs) -> str:
    """What to give up, in order, as HTML; empty where the plan fits."""
    if not found.remedies:
        return ""
    rows = [
        (
            number,
            remedy.name,
            remedy.costs,
            f"{remedy.plan.peak_gib:.1f}",
            "yes" if remedy.plan.fits(found.card) else "no",
        )
        for number, remedy in enumerate(found.remedies, 1)
    ]
    return plain_table(
        ("", "give up, in this order", "it costs", "GiB then", f"fits {found.card.name}"), rows
    )


def show_costs(lab: Lab, settings: Settings, guess: Guess | None = None) -> Costs:
    """Plan settings; shown with the guess of hours, if there is one, and recorded."""
    session = CostSession(settings)
    found = session.look(settings)
    low, high = found.plan.hours(found.card)

    def show() -> None:
        session.guess = guess.own if guess else None
        _show_costs(lab, session, found)

    if guess:
        planned = f"planned {between((low, high))}"
        lab.outcome(guess, Interval((low + high) / 2, low, high, 1, 1), show, words=planned)
    else:
        show()
    lab.record(
        "plan",
        **asdict(settings),
        parameters=found.plan.parameters,
        trained=found.plan.trained,
        flops=float(found.plan.flops),
        peak_gib=found.plan.peak_gib,
        moment=found.plan.memory.moment,
        hours=[low, high],
        fits=found.plan.fits(found.card),
        give_up=[remedy.name for remedy in found.remedies],
    )
    return found


def _show_costs(lab: Lab, session: CostSession, found: Costs) -> None:
    settings = session.settings
    alt = f"Memory by component and hours of {settings.model} with three methods. " + "; ".join(
        f"{name}: {value}" for name, value in told(found)
    )
    lab.show(
        session.figure(found),
        re.sub(
            r"[^\w.-]+", "-", f"cost-{Path(settings.model).name}-{settings.gpus}x{settings.card}"
        ).lower(),
        alt,
    )
    show_html(session.sentences(found))


# --- the paper's recipe -------------------------------------------------------------------------


def paper_setup() -> dict:
    """How the source paper trained its 8B model, as far as it says:
    data_samples/published/lu2025.yaml, `setup`.
    """
    path = samples_folder("published") / "lu2025.yaml"
    return read_yaml(path, missing="install labkit again")["setup"]


def paper_settings(*, tokens_per_paper: int, price: float = 0.0) -> Settings:
    """The paper's CPT at 8B. tokens_per_paper: the paper gives no token count, so this is yours to
    assume.
    """
    setup = paper_setup()
    tokens = setup["papers"] * setup["epochs"] * tokens_per_paper
    return Settings(
        model=setup["model"],
        card=setup["gpu"],
        gpus=setup["gpus"],
        tokens_millions=tokens / 1e6,
        batch_size=setup["batch_size"],
        rows_at_once=setup["rows_per_gpu"],
        length=setup["length"],
        checkpointing=setup["checkpointing"],
        price=price,
    )


def paper_costs(lab: Lab, *, tokens_per_paper: int, guess: Guess) -> Costs:
    """The paper's CPT planned, its forward passes as many as its configuration says, beside a guess
    of its hours.
    """
    setup = paper_setup()
    say(
        f"{setup['in_words']} ({setup['where']}). Not stated: {setup['not_stated']}; "
        f"{tokens_per_paper:,} tokens per paper are assumed here."
    )
    return show_costs(lab, paper_settings(tokens_per_paper=tokens_per_paper), guess)


def lora_share(model: str, length: int, rank: int = 16) -> Interval:
    """LoRA's FLOPs over full training's for rows of a length; the interval spans rows of 512 to
    8,192 tokens.
    """
    architecture = architecture_of(model)

    def share(tokens: int) -> float:
        return architecture.flops_per_token(tokens, rank) / architecture.flops_per_token(tokens)

    return Interval(share(length), share(LENGTHS[0]), share(LENGTHS[1]), n=1, clusters=1)


# --- on this machine ----------------------------------------------------------------------------


def show_design(lab: Lab, spec: PipelineSpec) -> SpecPlan:
    """What a design takes on this machine, stage by stage; recorded."""
    found = plan_spec(spec)
    show_html(
        plain_table(
            ("stage", "parameters that learn", "tokens", "FLOPs", "peak (GiB)", "seconds"),
            design_rows(found),
        )
    )
    name = spec.model_copy(update={"pack": Path(spec.pack).name}).name
    lab.record(
        "plan",
        model=spec.model,
        design=name,
        parameters=found.parameters,
        tokens=found.tokens,
        flops=float(found.flops),
        peak_gib=found.peak_gib,
        seconds=found.seconds,
    )
    return found


def show_sizes_of(
    lab: Lab, spec: PipelineSpec, *, card: str = "H100", price: float = 0.0
) -> list[AtSize]:
    """A design planned at 135 million, 1.7, 7 and 8 billion parameters, what is known of each size,
    and whether it works below 2 billion; recorded. price: of a GPU-hour, 0 leaves money out.
    """
    found = at_sizes(spec, card=card)
    show_html(plain_table(SIZE_HEADS, size_rows(found, price)))
    say(below_two_billion(spec, found))
    for one in found:
        plan = one.found.plan
        lab.record(
            "plan",
            model=one.model,
            card=card,
            cards=one.found.count,
            parameters=plan.parameters,
            tokens=list(one.found.tokens),
            peak_gib=plan.peak_gib,
            seconds=plan.seconds,
            price=price,
            give_up=[remedy.name for remedy in one.remedies],
            fits=one.fits,
        )
    return found


def check_here(lab: Lab, spec: PipelineSpec) -> None:
    """Probe this machine on a design's model and kinds of stage (once), predict a step of CPT of
    another size, measure it; recorded.
    """
    model = spec.model
    for kind in dict.fromkeys(map(kind_of, spec.stages)):
        known_speed(model, kind) or probe_speed(model, kind)
    speed, architecture = known_speed(model) or probe_speed(model), architecture_of(model)
    training = own_training(CHECK, architecture, CHECK.max_length)
    predicted = (
        step_seconds(architecture, training, speed),
        resident_memory(architecture, training, speed).peak_gib,
    )
    found = measure(model, CHECK)
    rows = [
        ("seconds per step", predicted[0], found.seconds),
        ("peak memory (GiB)", predicted[1], found.peak_gib),
    ]
    cells = [
        (name, f"{ours:.3f}", f"{theirs:.3f}", f"{ours / theirs - 1:+.0%}")
        for name, ours, theirs in rows
        if theirs is not None
    ]
    show_html(
        plain_table(
            (
                f"{model}, {CHECK.batch_size} rows of {CHECK.max_length} tokens",
                "predicted",
                "measured",
                "off by",
            ),
            cells,
        )
    )
    lab.record(
        "plan_check",
        model=model,
        predicted_seconds=predicted[0],
        predicted_gib=predicted[1],
        **asdict(found),
    )


def measured_rows() -> dict:
    """benchmarks/planner_accuracy.py's last run: `machine` and `rows`."""
    return json.loads((samples_folder("measured") / "planner.json").read_text("utf-8"))


def accuracy_table() -> str:
    """Its table as HTML."""
    heads = (
        "setting",
        "GiB predicted",
        "measured",
        "off by",
        "seconds per step predicted",
        "measured",
        "off by",
    )
    cells = []
    for row in measured_rows()["rows"]:
        numbers = [(row[f"predicted_{key}"], row[f"measured_{key}"]) for key in ("gib", "seconds")]
        cells.append(
            (
                views.setting(row),
                *(
                    cell
                    for ours, theirs in numbers
                    for cell in (f"{ours:.3f}", f"{theirs:.3f}", f"{ours / theirs - 1:+.0%}")
                ),
            )
        )
    return plain_table(heads, cells)


def show_accuracy(lab: Lab) -> None:
    """What was predicted and measured when labkit was made, as figure and table."""
    found = measured_rows()
    rows = found["rows"]
    within = sum(
        abs(row[f"predicted_{key}"] / row[f"measured_{key}"] - 1) <= 0.15
        for row in rows
        for key in ("gib", "seconds")
    )
    machine = f"{found['machine']['cores']} cores, {found['machine']['system']}"
    say(f"{within} of {2 * len(rows)} predictions are within 15% of what was measured ({machine}).")
    lab.show(
        views.accuracy(rows),
        "accuracy",
        f"Predicted over measured memory and time for {len(rows)} settings; {within} of "
        f"{2 * len(rows)} within 15%.",
    )
    show_html(accuracy_table())


# --- the panel ----------------------------------------------------------------------------------

SIZE = {"layout": {"width": "275px"}, "style": {"description_width": "125px"}}


def cost_panel(lab: Lab, settings: Settings) -> None:
    """The panel, starting at settings; headless, its figure and sentences without a widget."""
    if headless():
        show_costs(lab, settings)
        return
    from IPython.display import display

    display(build_cost_panel(CostSession(settings)))


def build_cost_panel(session: CostSession) -> widgets.Widget:
    """Controls for the settings of a session, its figure and its sentences."""
    return CostPanel(session).whole


class CostPanel:
    """Every change is followed at once."""

    def __init__(self, session: CostSession):
        self.session = session
        self.controls = _controls(session)
        self.picture = widgets.Image(format="png", layout=widgets.Layout(max_width="100%"))
        self.told = widgets.HTML()
        rows = list(self.controls.values())
        third = -(-len(rows) // 3)
        columns = [
            widgets.VBox(rows[start : start + third]) for start in range(0, len(rows), third)
        ]
        self.whole = widgets.VBox(
            [
                widgets.HBox(columns, layout=widgets.Layout(flex_flow="row wrap")),
                self.told,
                self.picture,
            ]
        )
        follow = guarded_into(self.told, self._follow)
        for control in rows:
            control.observe(follow, "value")
        follow()

    def _follow(self) -> None:
        self.picture.value, self.told.value = b"", ""
        settings = Settings(**{name: control.value for name, control in self.controls.items()})
        found = self.session.look(settings)
        self.told.value = self.session.sentences(found)
        self.picture.value = self.session.draw(found)


def _controls(session: CostSession) -> dict[str, widgets.Widget]:
    start, typed = asdict(session.settings), {**SIZE, "continuous_update": False}
    made = {
        "model": widgets.Combobox(
            options=session.models(),
            value=start["model"],
            ensure_option=False,
            description="model",
            **typed,
        ),
        "card": widgets.Dropdown(
            options=session.cards(), value=start["card"], description="GPU", **SIZE
        ),
        "gpus": widgets.BoundedIntText(
            start["gpus"], min=1, max=1024, description="how many", **SIZE
        ),
        "method": widgets.Dropdown(
            options=[(words, name) for name, words in views.NAMES.items()],
            value=start["method"],
            description="method",
            **SIZE,
        ),
        "tokens_millions": widgets.FloatText(
            start["tokens_millions"], description="tokens (millions)", **typed
        ),
        "batch_size": widgets.IntText(start["batch_size"], description="rows per step", **typed),
        "rows_at_once": widgets.IntText(
            start["rows_at_once"], description="of them at once", **typed
        ),
        "length": widgets.IntText(start["length"], description="tokens per row", **typed),
        "checkpointing": widgets.Checkbox(
            start["checkpointing"], description="activation checkpointing", indent=False
        ),
        "price": widgets.FloatText(start["price"], description="price of a GPU-hour", **typed),
    }
    return {field.name: made[field.name] for field in fields(session.settings)}
