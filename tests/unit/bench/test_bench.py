"""The benchmark's own arithmetic and clean-up: a figure that is quoted must be one that was measured."""

import pytest

from bench.__main__ import main
from bench.contents import location_of
from bench.load import Answer, Load
from bench.measure import Measured, Round, percentile
from bench.report import Pair, cpu_ratio, figures, rate_ratio, row
from bench.scenarios import SCENARIOS
from bench.servers import PEERS, MissingPeer, find_program
from bench.targets import Target

_PULL = next(one for one in SCENARIOS if one.name == "pull of 512 MiB")
_MANIFEST = SCENARIOS[0]


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [float(number) for number in range(1, 101)]
    assert percentile(values, 0.99) == 99.0
    assert percentile(values, 0.5) == 50.0
    assert percentile([*values, 101.0], 0.99) == 100.0
    assert percentile([7.0], 0.99) == 7.0


def test_a_round_sums_up_a_run() -> None:
    one = Round.of(Load(taken=[0.3, 0.1, 0.2, 0.4], elapsed=2.0, server_cpu=0.5, own_cpu=1.0))
    assert one == Round(operations=4, rate=2.0, p50_ms=200.0, p99_ms=400.0, cpu_ms=125.0, generator_cpu=0.5)


def test_a_ratio_is_of_rounds_that_were_beside_each_other() -> None:
    ours, theirs = _measured(10.0, 100.0, 30.0), _measured(5.0, 50.0, 10.0)
    assert rate_ratio(ours, theirs) == 2.0
    assert cpu_ratio(_measured(1.0, cpu_ms=3.0), _measured(1.0, cpu_ms=4.0)) == 0.75


def test_a_target_is_met_at_its_bound_and_missed_beyond() -> None:
    assert Target(3).judge(3.0) == (">= 3x met", 3.0, True)
    assert Target(3).judge(2.999) == (">= 3x missed", 2.999, False)
    most = Target(1.5, " s", at_most=True)
    assert most.judge(1.5).text == "<= 1.5 s met"
    assert most.judge(1.501).text == "<= 1.5 s missed"
    assert Target(0.75, at_most=True).judge(0.8, "CPU").text == "CPU 0.80x, <= 0.75x missed"


def test_a_row_shows_both_servers_and_what_is_judged() -> None:
    ours, theirs = _measured(5000.0, cpu_ms=0.1, p99_ms=4.0), _measured(1000.0, cpu_ms=0.5, p99_ms=20.0)
    line = row(_MANIFEST, Pair("manifest", ours, theirs, [Target(6).judge(5.0)]))
    assert _words(line) == "manifest /s 5,000 1,000 5.00x 4.0 / 20.0 0.100 / 0.500 100 / 100 >= 6x missed"
    assert _words(row(_MANIFEST, Pair("alone", ours, None))) == "alone /s 5,000 4.0 0.100 100"


def test_a_row_says_when_the_generator_was_the_limit_and_counts_large_content_in_mib() -> None:
    line = row(_PULL, Pair("pull", _measured(2.0, cpu_ms=100.0, generator_cpu=0.95), _measured(1.0, cpu_ms=300.0)))
    assert _words(line) == "pull MiB/s 1,024* 512 2.00x 1.0 / 1.0 0.10 / 0.30 100 / 100"


def test_figures_hold_every_round_and_every_target() -> None:
    ours, theirs = _measured(6.0, 4.0), _measured(2.0, 2.0)
    pair = Pair("x", ours, theirs, [Target(3).judge(2.5)])
    written = figures("x", _MANIFEST, {"stowage": ours, "distribution": theirs}, [pair])
    assert written["ratios"] == [2.5]
    assert written["targets"] == [{"text": ">= 3x missed", "value": 2.5, "met": False}]
    servers = written["servers"]
    assert isinstance(servers, dict)
    assert [one["rate"] for one in servers["stowage"]["rounds"]] == [6.0, 4.0]


def test_a_location_may_be_absolute_or_relative() -> None:
    assert location_of(Answer(202, b"HTTP/1.1 202 Accepted\r\nLocation: /v2/a?x=1\r\n")) == "/v2/a?x=1"
    absolute = b"HTTP/1.1 202 Accepted\r\nlocation: http://127.0.0.1:5000/v2/a?x=1\r\n"
    assert location_of(Answer(202, absolute)) == "/v2/a?x=1"


def test_a_missing_program_is_named() -> None:
    with pytest.raises(MissingPeer, match="no-such-registry is missing: `make bench`"):
        find_program("no-such-registry")


def test_a_missing_peer_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(PEERS["distribution"], "program", "no-such-registry")
    assert main(["--only", "manifest GET", "--peer", "distribution"]) == 1
    assert capsys.readouterr().err == "bench: no-such-registry is missing: `make bench` installs it\n"


def test_an_unknown_scenario_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "nothing like it"]) == 2
    assert "'nothing like it'" in capsys.readouterr().err


def test_help_lists_all_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    for name in (*(one.name for one in SCENARIOS), "TLS: 4 KiB", "growth in tags: tag GET", "start-up with 1,000,000"):
        assert name in shown


def _words(line: str) -> str:
    return " ".join(line.split())


def _measured(
    *rates: float, cpu_ms: float = 1.0, p99_ms: float = 1.0, generator_cpu: float = 0.1, peak_mib: float = 100.0
) -> Measured:
    rounds = [Round(1, rate, p99_ms, p99_ms, cpu_ms, generator_cpu) for rate in rates]
    return Measured(rounds, p99_ms, peak_mib)
