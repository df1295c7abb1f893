"""The benchmark's own arithmetic and clean-up: a figure that is quoted must be one that was measured."""

import json
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.http import path_of
from bench.measure import percentile
from bench.servers import PEERS, MissingPeer, Stowage, find_program


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [float(number) for number in range(1, 101)]
    assert percentile(values, 0.99) == 100.0
    assert percentile(values, 0.5) == 51.0
    assert percentile([7.0], 0.99) == 7.0


def test_a_location_may_be_absolute_or_relative() -> None:
    assert path_of(b"/v2/a?x=1") == "/v2/a?x=1"
    assert path_of(b"http://127.0.0.1:5000/v2/a?x=1") == "/v2/a?x=1"


def test_a_missing_program_is_named() -> None:
    with pytest.raises(MissingPeer, match="make bench"):
        find_program("no-such-registry")


def test_an_unknown_scenario_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "nothing like it"]) == 2
    assert "nothing like it" in capsys.readouterr().err


def test_every_scenario_runs_and_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stowage stands in for the peer, so that nothing needs to be installed; large and many things are left out."""
    monkeypatch.setitem(PEERS, "distribution", Stowage)
    file = tmp_path / "figures.json"
    for number, name in enumerate(["manifest", "4 KiB", "1 MiB", "small image", "mount"]):
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.setattr(Stowage, "name", "stowage")
        monkeypatch.setitem(PEERS, "distribution", type("Other", (Stowage,), {"name": "other"}))
        assert main(["--only", name, "--seconds", "0.1", "--json", str(file), "--folder", str(folder)]) == 0
        for result in json.loads(file.read_text()):
            assert len(result["stowage"]) == len(result["other"]) >= 2
            assert all(one["rate"] > 0 for one in result["stowage"] + result["other"])
        assert list(folder.iterdir()) == []
    assert "ratio" in capsys.readouterr().out
