from __future__ import annotations

from labkit.course.journal_figures import merge_curves, picture, plain, room_predictions


def test_words_of_others_are_no_formulas_and_stay_short():
    figure = room_predictions([("costs $\\frac{ and $5 " + "word " * 60, [0.2, 0.4], [0.3, 0.5])])
    assert (
        picture(figure, "").png.startswith(b"\x89PNG")
        and plain("word " * 60).count("\n") == 2
        and plain("x " * 99).endswith("…")
    )


def test_the_same_figure_gives_the_same_bytes():
    def made():
        return picture(
            merge_curves(
                {"knowledge": {"slerp": [[(0.0, 0.1), (0.5, 0.4)], [(0.0, 0.2), (0.5, 0.3)]]}},
                ("a", "b"),
            ),
            "two learners",
        )

    assert made() == made() and made().svg.startswith("<?xml") and 0 < made().width < 1


def test_the_band_is_the_middle_half_of_the_class():
    lines = [[(0.0, value), (1.0, value)] for value in (0.0, 0.2, 0.4, 0.6, 0.8)]
    band = (
        merge_curves({"knowledge": {"slerp": lines}}, ("a", "b"))
        .axes[0]
        .collections[0]
        .get_paths()[0]
        .get_extents()
    )
    assert (round(band.y0, 6), round(band.y1, 6)) == (0.2, 0.6)
