"""Every part of the benchmark runs against real servers and is reported, in small; it leaves nothing behind."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as command
from bench import encryption, login, startup
from bench.collection import Collection, CollectionOnS3
from bench.comparison import Comparison
from bench.encryption import Encryption, StowageTls
from bench.growth import Growth
from bench.login import LoggedIn, LoggingIn
from bench.memory import Memory
from bench.sections import Section
from bench.servers import PEERS, Stowage
from bench.startup import StartUp
from bench.takeover import TakeOver
from bench.webhooks import Webhooks

Measure = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Measure:
    """Runs the command on one section and returns the figures it wrote."""

    def run(section: Section, *arguments: str) -> list[dict[str, Any]]:
        monkeypatch.setattr(command, "SECTIONS", (section,))
        file, folder = tmp_path / "figures.json", tmp_path / "data"
        folder.mkdir()
        asked = ["--seconds", "0.05", "--json", str(file), "--folder", str(folder), *arguments]
        assert command.main(asked) == 0
        assert list(folder.iterdir()) == []
        found: list[dict[str, Any]] = json.loads(file.read_text())[section.key]
        return found

    return run


def test_a_scenario_is_measured_in_turns(
    measure: Measure, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stowage stands in for the peer, so that nothing needs to be installed."""
    monkeypatch.setitem(PEERS, "distribution", type("Other", (Stowage,), {"name": "distribution"}))
    found = measure(Comparison(), "--peer", "distribution", "--only", "manifest GET", "--only", "small image")
    printed = capsys.readouterr().out
    assert [one["name"] for one in found] == ["manifest GET by tag", "push of a small image"]
    for one in found:
        for name in ("stowage", "distribution"):
            rounds = one["servers"][name]["rounds"]
            assert len(rounds) == 5
            assert all(each["operations"] > 0 and each["rate"] > 0 for each in rounds)
            assert one["servers"][name]["peak_mib"] > 10
        (target,) = one["targets"]
        assert target["value"] == one["ratios"][0]
        assert target["text"] in printed


def test_a_peer_that_cannot_do_it_is_said_so(
    measure: Measure, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.scenarios._TagPage.tags", 200)
    monkeypatch.setitem(PEERS, "distribution", type("Other", (Stowage,), {"lacks": frozenset({"pages of tags"})}))
    (one,) = measure(Comparison(), "--peer", "distribution", "--only", "10,000 tags")
    assert one["ratios"] == one["targets"] == []
    assert "has no pages of tags" in capsys.readouterr().out


def test_growth_is_measured_on_servers_that_were_filled(measure: Measure) -> None:
    found = measure(Growth(small=10, large=300), "--only", "growth in tags")
    names = ["tag GET", "page of tags", "page of the catalog", "push of a small image"]
    assert [one["name"] for one in found] == [f"growth in tags: {name}" for name in names]
    for one in found:
        assert all(each["rate"] > 0 for name in ("small", "large") for each in one["servers"][name]["rounds"])
        assert one["targets"][0]["value"] == one["ratios"][0]


def test_start_up_is_measured_with_one_manifest_and_with_many(
    measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(startup, "_ROUNDS", 1)
    one, full, cold = measure(StartUp(manifests=3000))
    assert full["name"] == "start-up with 3,000 manifests"
    assert one["targets"] == []
    for each in (full, cold):
        assert [each["targets"][0]["value"]] == each["seconds"]


def test_a_takeover_is_measured_twice(measure: Measure) -> None:
    first, again = measure(TakeOver(images=25))
    assert (first["name"], again["name"]) == ("import of 25 images", "import of 25 images, a second run")
    assert first["seconds"] > 0
    assert again["peak_mib"] > 10


def test_memory_is_that_of_each_process(measure: Measure) -> None:
    (one,) = measure(Memory(transfers=3, mib=2), "--peer", "none")
    assert one["name"] == "memory of 3 uploads and 3 downloads of 2 MiB, stowage"
    assert len(one["peaks_mib"]) > 1, "the first process looks after workers"
    assert one["targets"][0]["value"] == max(one["peaks_mib"][1:])
    assert one["down_mib_per_second"] > 0 and one["up_mib_per_second"] > 0


def test_tls_is_measured(measure: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stowage stands in for nginx, which only `make bench` installs."""
    monkeypatch.setattr(encryption, "BehindNginx", type("Other", (StowageTls,), {"name": "nginx"}))
    (one,) = measure(Encryption(), "--only", "4 KiB")
    assert len(one["ratios"]) == 1
    assert set(one["servers"]) == {"stowage", "nginx"}


def test_collection_finds_and_deletes_what_was_made_garbage(
    measure: Measure, capsys: pytest.CaptureFixture[str]
) -> None:
    finding, deleting = measure(Collection(40, 10))
    assert finding["candidates"] == deleting["blobs"] == deleting["manifests"] == 10
    assert deleting["bytes"] == 10 * 4096
    assert "blobs deleted" in capsys.readouterr().out


def test_collection_deletes_from_a_bucket(measure: Measure, capsys: pytest.CaptureFixture[str]) -> None:
    (deleting,) = measure(CollectionOnS3(40, 10))
    assert deleting["blobs"] == deleting["manifests"] == 10
    assert deleting["bytes"] == 10 * 4096
    assert "blobs, on S3" in capsys.readouterr().out


def test_what_a_token_costs_is_measured_beside_an_open_server(measure: Measure) -> None:
    (one,) = measure(LoggedIn(), "--peer", "none", "--only", "logged in: manifest GET")
    assert one["targets"][0]["value"] == one["ratios"][0] > 0
    for name in ("users", "open"):
        assert all(each["operations"] > 0 for each in one["servers"][name]["rounds"])


def test_pings_are_measured_while_people_log_in(measure: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "_LOGINS", 2)
    monkeypatch.setattr(login, "_ROUNDS", 1)
    (one,) = measure(LoggingIn(), "--peer", "none")
    assert one["targets"][0]["value"] == one["p99_ms"] > 0
    assert one["seconds_of_logins"] > 0


def test_pushes_are_measured_with_webhooks_and_without_and_so_is_delivery(measure: Measure) -> None:
    pushes, delivered = measure(Webhooks(50), "--only", "one at a time", "--only", "events delivered")
    assert pushes["ratios"][0] > 0
    assert {name: len(one["rounds"]) for name, one in pushes["servers"].items()} == {"told": 5, "untold": 5}
    assert (delivered["events"], delivered["rate"] > 0) == (50, True)
