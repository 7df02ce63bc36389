from __future__ import annotations

from labkit.classroom import checkup


def test_checks_pass_or_say_what_to_do():
    for check in (
        checkup.python_version(),
        checkup.cores(),
        checkup.memory(),
        *map(checkup.package_version, checkup.PACKAGES),
    ):
        assert check.found and (check.passed or check.remedy)


def test_missing_and_drifted_packages_fail(monkeypatch):
    assert not checkup.package_version("no-such-package").passed
    monkeypatch.setattr(checkup, "pinned_versions", lambda: {"torch": "0.0.1"})
    drifted = checkup.package_version("torch")
    assert not drifted.passed and "0.0.1" in drifted.remedy


def test_no_write_access_is_found(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "file"))
    found = list(checkup.disk_and_write_access())
    assert [check.passed for check in found] == [False] and "LABKIT_HOME" in found[0].remedy


def test_speed_is_really_measured(monkeypatch):
    monkeypatch.setattr(checkup, "SPEED_TEST_SECONDS", 1)
    assert "tokens/s with llama-s" in checkup.speed().found
