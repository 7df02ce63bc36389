from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from class_case import PARAMETERS, RECORD, notebook, roster

from labkit.base import records
from labkit.base.errors import InputError
from labkit.classroom.sessions import (
    Defaults,
    Learner,
    kept_run,
    learner_folder,
    read_roster,
    run_class,
)
from labkit.cli import share
from labkit.course.journal import course_notebooks

pytestmark = pytest.mark.usefixtures("real_kernels")

REPORT = next(path for path in course_notebooks() if path.stem == "10_report")
READY_SECONDS = 60


def learners(tmp_path, *names, columns="learner,seed", known=("quick",)) -> list[Learner]:
    return read_roster(
        roster(
            tmp_path / "roster.csv",
            *(f"{name},{seed}" for seed, name in enumerate(names, 1)),
            columns=columns,
        ),
        Defaults("materials", 0, known),
    )


def count_runs(tmp_path) -> str:
    """A cell that leaves a line per run behind."""
    return f"open({str(tmp_path / 'ran')!r}, 'a').write(f'{{seed}}\\n')"


def ran(tmp_path) -> list[str]:
    path = tmp_path / "ran"
    return sorted(path.read_text().split()) if path.is_file() else []


def run(room, files, out, **options):
    return run_class(room, files, profile="smoke", out_dir=out, **options)


def problems(results) -> list[str]:
    return [one.problem for runs in results.values() for one in runs]


def test_two_learners_run_apart_and_the_second_time_nothing_is_run(tmp_path):
    room = learners(tmp_path, "../../etc/Ada", "<b>Bob</b>", known=("quick", "10_report"))
    files = [notebook(tmp_path / "quick.ipynb", RECORD, count_runs(tmp_path)), REPORT]
    seen = []
    results = run(room, files, tmp_path / "out", told=lambda *told: seen.append(told))
    assert (
        problems(results) == ["", "", "", ""] and seen[0] == (0, 4, "") and seen[-1] == (4, 4, "")
    )
    for one in room:
        folder = learner_folder(tmp_path / "out", one.key)
        mine = records.read(folder)
        assert {row["learner"] for row in mine} == {one.key} and {row["seed"] for row in mine} == {
            one.seed
        }
        assert {row["kind"] for row in mine} >= {"prediction", "session"}
        assert (folder / "quick.html").is_file() and (folder / "10_report.html").is_file()
    assert sorted(path.name for path in (tmp_path / "out" / "learners").iterdir()) == sorted(
        one.key for one in room
    )
    assert run(room, files, tmp_path / "out").keys() == results.keys() and ran(tmp_path) == [
        "1",
        "2",
    ]


def test_one_failure_stops_nothing_and_only_it_is_run_again(tmp_path):
    room = learners(tmp_path, "Ada", "Bob", known=("bad", "quick"))
    fixed = tmp_path / "fixed"
    files = [
        notebook(
            tmp_path / "bad.ipynb",
            f"from pathlib import Path\nassert seed != 1 or Path({str(fixed)!r}).exists(), 'no'",
        ),
        notebook(tmp_path / "quick.ipynb", RECORD, count_runs(tmp_path)),
    ]
    out = tmp_path / "out"
    assert problems(run(room, files, out)) == ["cell 3: AssertionError: no", "", "", ""]
    assert problems(run(room, files, out))[0] and ran(tmp_path) == [
        "1",
        "2",
    ]  # failed as before: what follows stays
    fixed.touch()
    assert not any(problems(run(room, files, out))) and ran(tmp_path) == [
        "1",
        "1",
        "2",
    ]  # what follows may read what it recorded
    assert len(records.read(learner_folder(out, room[0].key), "prediction")) == 1


def test_a_change_is_run_again_and_its_old_records_go(tmp_path):
    path, out = notebook(tmp_path / "quick.ipynb", RECORD, count_runs(tmp_path)), tmp_path / "out"
    for seed in (1, 1, 2):
        (one,) = room = read_roster(
            roster(tmp_path / "roster.csv", f"Ada,{seed}"), Defaults("materials", 0, ("quick",))
        )
        run(room, [path], out)
    assert ran(tmp_path) == ["1", "2"]
    assert [row["seed"] for row in records.read(learner_folder(out, one.key))] == [2]
    notebook(path, RECORD, count_runs(tmp_path), "print('new')")
    run(room, [path], out)
    (learner_folder(out, one.key) / "quick.html").unlink()
    run(room, [path], out)
    assert ran(tmp_path) == ["1", "2", "2", "2"]


def test_half_a_result_is_no_result(tmp_path):
    (tmp_path / "state").mkdir()
    for text in (
        "",
        "{",
        "[]",
        '{"key": "k", "seconds": "x", "problem": ""}',
        '{"key": "k", "seconds": 1, "problem": ""}',
    ):
        (tmp_path / "state" / "quick.json").write_text(text)
        assert kept_run(tmp_path, "quick") is None


def test_a_design_goes_to_notebooks_that_take_it_and_is_refused_where_none_does(tmp_path):
    room = read_roster(
        roster(tmp_path / "r.csv", "Ada,cpt-sft", columns="learner,design"),
        Defaults("materials", 0, ("quick",)),
    )
    plain = notebook(tmp_path / "quick.ipynb", "pass")
    with pytest.raises(
        InputError,
        match=r"learner 01 has the design 'cpt-sft', but none of its notebooks .quick. has a "
        "parameter",
    ):
        run(room, [plain], tmp_path / "out")
    taking = notebook(
        tmp_path / "quick.ipynb",
        "assert design == 'cpt-sft'",
        parameters=PARAMETERS + 'design = ""\n',
    )
    assert problems(run(room, [taking], tmp_path / "out")) == [""]


def test_a_notebook_that_lacks_a_parameter_is_refused_before_anything_is_run(tmp_path):
    path = notebook(tmp_path / "quick.ipynb", "pass", parameters="profile = 'lab'\npack = ''\n")
    with pytest.raises(InputError, match="does not set 'seed'"):
        run(learners(tmp_path, "Ada"), [path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_cores_are_shared_among_learners(tmp_path):
    path = notebook(
        tmp_path / "quick.ipynb",
        f"import os; open({str(tmp_path / 'ran')!r}, "
        "'a').write(os.environ['OMP_NUM_THREADS'] + '\\n')",
    )
    cores = int(share.cores().found)
    run(learners(tmp_path, *map(str, range(cores))), [path], tmp_path / "many")
    run(learners(tmp_path, "Ada"), [path], tmp_path / "one")
    assert ran(tmp_path) == sorted(["1"] * cores + [str(cores)])


@pytest.mark.unix
def test_a_killed_process_loses_its_own_learner_only(tmp_path):
    room = learners(tmp_path, "Ada", "Bob", "Cy")
    kill = (
        "import os, signal, time\nif seed == 2: time.sleep(0.3); os.kill(os.getppid(), "
        "signal.SIGKILL); time.sleep(5)"
    )
    results = run(
        room, [notebook(tmp_path / "quick.ipynb", RECORD, kill)], tmp_path / "out", jobs=2
    )
    lost = results[room[1].key][0].problem
    assert "process that ran it died" in lost and [
        bool(problem) for problem in problems(results)
    ] == [False, True, False]


@pytest.mark.unix
def test_ctrl_c_loses_nothing_that_was_finished(tmp_path):
    room = learners(tmp_path, *"abcd")
    wait = (
        "import time\nfrom pathlib import Path\nif seed > 2 and not "
        f"Path({str(tmp_path / 'go')!r}).exists(): time.sleep(60)"
    )
    files, out = (
        [notebook(tmp_path / "quick.ipynb", RECORD, wait, count_runs(tmp_path))],
        tmp_path / "out",
    )
    code = (
        # a background job's children ignore it
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pathlib import Path; from labkit.classroom.sessions import run_class; "
        "from labkit.classroom.sessions import Defaults, read_roster\n"
        f"room = read_roster(Path({str(tmp_path / 'roster.csv')!r}), "
        "Defaults('materials', 0, ('quick',)))\n"
        f"run_class(room, [Path({str(files[0])!r})], profile='smoke', "
        f"out_dir=Path({str(out)!r}), jobs=2)"
    )
    with (tmp_path / "said").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-c", code], stderr=said, start_new_session=True
        )
    wait_for(
        lambda: (
            ran(tmp_path) == ["1", "2"]
            and all(kept_run(learner_folder(out, one.key), "quick") for one in room[:2])
        )
    )
    time.sleep(1)  # the next two are on their way
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    assert (
        process.wait(timeout=READY_SECONDS) != 0
        and "KeyboardInterrupt" in (tmp_path / "said").read_text()
    )
    (tmp_path / "go").touch()
    assert not any(problems(run(room, files, out, jobs=2))) and ran(tmp_path) == [
        "1",
        "2",
        "3",
        "4",
    ]


# --- on a cluster


def wait_for(ready) -> None:
    until = time.monotonic() + READY_SECONDS
    while not ready():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.1)


@contextmanager
def cluster(folder: Path, **settings: str):
    """A scheduler and two workers, each a process of its own with one thread; yields the address
    and the workers.
    """
    distributed = pytest.importorskip(
        "distributed",
        reason="dask and distributed are not installed: pip install -e '.[cluster]'",
    )
    environment = {**os.environ, "DASK_DISTRIBUTED__LOGGING__DISTRIBUTED": "warning", **settings}
    told = folder / "scheduler.json"

    def start(*command: str):
        with (folder / f"{command[0]}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", *command, "--no-dashboard", "--host", "127.0.0.1"],
                env=environment,
                stdout=log,
                stderr=log,
                cwd=folder,
            )

    processes = [start("scheduler", "--port", "0", "--scheduler-file", str(told))]
    try:
        wait_for(told.is_file)
        address = json.loads(told.read_text())["address"]
        workers = [start("worker", address, "--nthreads", "1", "--no-nanny") for _ in range(2)]
        processes += workers
        with distributed.Client(address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=READY_SECONDS)
        yield address, workers
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_a_dask_worker_killed_mid_run_loses_no_result(tmp_path):
    room = learners(tmp_path, *"abcde")
    pids = tmp_path / "pids"
    slow = (
        f"import os, time\nopen({str(pids)!r}, 'a').write(f'{{os.getppid()}} {{seed}}\\n'); "
        "time.sleep(1.5)"
    )
    files, out = (
        [notebook(tmp_path / "quick.ipynb", slow, RECORD, count_runs(tmp_path))],
        tmp_path / "out",
    )
    with cluster(tmp_path) as (address, workers):
        killed = []

        def told(done: int, total: int, remark: str) -> None:
            at_work = (
                [line.split() for line in pids.read_text().splitlines()] if pids.is_file() else []
            )
            if (
                done
                and not killed
                and (
                    mid := [
                        seed
                        for pid, seed in at_work
                        if pid == str(workers[0].pid) and seed not in ran(tmp_path)
                    ]
                )
            ):
                workers[0].kill()
                killed.extend(mid)

        results = run(room, files, out, scheduler=address, told=told)
        both = {line.split()[0] for line in pids.read_text().splitlines()}
    assert killed and both == {str(worker.pid) for worker in workers}
    assert not any(problems(results)) and len(results) == 5
    for one in room:
        assert [
            row["seed"] for row in records.read(learner_folder(out, one.key), "prediction")
        ] == [one.seed]
    again = [line.split()[1] for line in pids.read_text().splitlines()]
    assert sorted(again) == sorted([*"12345", *killed])  # what was finished was not run again


@pytest.mark.unix
def test_a_task_that_dask_gives_up_ends_and_is_told(tmp_path):
    room = learners(tmp_path, *"ab")
    kill = (
        "import os, signal, time\nif seed == 1: os.kill(os.getppid(), signal.SIGKILL); "
        "time.sleep(5)"
    )
    with cluster(tmp_path, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0") as (address, _):
        results = run(
            room, [notebook(tmp_path / "quick.ipynb", kill)], tmp_path / "out", scheduler=address
        )
    assert "KilledWorker" in problems(results)[0] and problems(results)[1] == ""


def test_a_scheduler_that_is_not_there_is_a_sentence(tmp_path, monkeypatch):
    pytest.importorskip(
        "distributed",
        reason="dask and distributed are not installed: pip install -e '.[cluster]'",
    )
    monkeypatch.setattr("labkit.classroom.sessions.CONNECT_SECONDS", 1)
    files = [notebook(tmp_path / "quick.ipynb", "pass")]
    for address in ("tcp://127.0.0.1:9", "no such thing", "ftp://127.0.0.1:1"):
        with pytest.raises(InputError, match="no Dask scheduler answers there"):
            run(learners(tmp_path, "Ada"), files, tmp_path / "out", scheduler=address)
