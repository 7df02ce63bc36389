"""The live line of a training says where a stage goes on, and what is kept when it is stopped."""

from __future__ import annotations

import pytest

from labkit.cli import Line
from labkit.train.callbacks import Progress, Terminated

SENTENCE = "stopped: cpt is kept up to step 20 of 180"


def test_a_stage_that_goes_on_says_at_which_step_and_once(capsys):
    with Line() as line:
        for step in (25, 30):
            line(Progress("cpt", step, 180, 1.0, 10.0, 5.0, began=20))
        line(Progress("sft", 5, 60, 1.0, 10.0, 5.0))
    told = capsys.readouterr().err
    assert told.count("cpt goes on at step 20 of 180") == 1 and "sft goes on" not in told


@pytest.mark.parametrize("error", [KeyboardInterrupt(SENTENCE), Terminated(SENTENCE)])
def test_an_interrupt_says_what_is_kept(capsys, error):
    with pytest.raises(type(error)), Line() as line:
        line(Progress("cpt", 20, 180, 1.0, 10.0, 5.0))
        raise error
    assert SENTENCE in capsys.readouterr().err
    assert Terminated(SENTENCE).code == 143
