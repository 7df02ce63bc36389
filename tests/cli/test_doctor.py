from __future__ import annotations

import tempfile

from labkit.cli import share as doctor
from labkit.course import execute


def test_checks_pass_or_say_what_to_do():
    for check in (
        doctor.python_version(),
        doctor.cores(),
        doctor.memory(),
        *map(doctor.package_version, doctor.PACKAGES),
    ):
        assert check.found and (check.passed or check.remedy)


def test_missing_and_drifted_packages_fail(monkeypatch):
    assert not doctor.package_version("no-such-package").passed
    monkeypatch.setattr(doctor, "pinned_versions", lambda: {"torch": "0.0.1"})
    drifted = doctor.package_version("torch")
    assert not drifted.passed and "0.0.1" in drifted.remedy


def test_no_write_access_is_found(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "file"))
    found = list(doctor.disk_and_write_access())
    assert [check.passed for check in found] == [False] and "LABKIT_HOME" in found[0].remedy


def test_a_temporary_folder_too_long_for_sockets_is_told(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/" + "x" * 89)
    stand_in = doctor.temporary_folder()
    assert (
        stand_in.passed and "90 bytes, 78 are room" in stand_in.found and "/tmp" in stand_in.found
    )
    monkeypatch.setattr(execute, "MOST_BYTES", 3)
    nowhere = doctor.temporary_folder()
    assert not nowhere.passed and "set TMPDIR" in nowhere.remedy
    monkeypatch.setattr(doctor, "speed", lambda step: doctor.Check("training speed", True, "fast"))
    assert nowhere in list(doctor.run_all())


def test_speed_is_really_measured(monkeypatch):
    monkeypatch.setattr(doctor, "SPEED_TEST_SECONDS", 1)
    assert "tokens/s with llama-s" in doctor.speed().found
