"""The supervisor from outside: workers that can't start, that die again and again, that are replaced in vain."""

import os
import re
import signal
from pathlib import Path

import pytest

from tests.support.served import Process, eventually
from tests.support.workers import alive, children

PATIENCE = 60.0


def test_while_no_worker_can_start_clients_wait_and_are_answered_in_the_end(tmp_path: Path) -> None:
    with Process(tmp_path) as served:
        (worker,) = children(served.process.pid)
        (tmp_path / "fail-to-start").touch()
        os.kill(worker, signal.SIGKILL)
        eventually(lambda: served.log().count("another takes its place") >= 4, PATIENCE)
        with served.connect() as waiting:
            waiting.ask("/about/x")
            (tmp_path / "fail-to-start").unlink()
            assert waiting.answer().status == 200
        assert served.stop() == 0


def test_a_reload_whose_workers_can_not_start_changes_nothing(tmp_path: Path) -> None:
    with Process(tmp_path) as served:
        before = children(served.process.pid)
        (tmp_path / "fail-to-start").touch()
        served.process.send_signal(signal.SIGHUP)
        eventually(lambda: "reload failed" in served.log(), PATIENCE)
        assert served.get("/about/x").status == 200
        assert children(served.process.pid) == before
        (tmp_path / "fail-to-start").unlink()
        served.process.send_signal(signal.SIGHUP)
        eventually(lambda: "reloaded" in served.log(), PATIENCE)
        eventually(lambda: not set(before) & set(children(served.process.pid)), PATIENCE)
        assert served.get("/about/x").status == 200


def test_who_waits_for_a_worker_that_is_just_started_is_answered_before_the_end(tmp_path: Path) -> None:
    with Process(tmp_path) as served:
        (worker,) = children(served.process.pid)
        (tmp_path / "start-slowly").touch()
        os.kill(worker, signal.SIGKILL)
        with served.connect() as waiting:
            waiting.ask("/about/x")
            eventually(lambda: "another takes its place" in served.log())
            served.process.send_signal(signal.SIGTERM)
            assert waiting.answer().status == 200
        assert served.process.wait(20) == 0


def test_if_one_of_several_workers_can_not_start_at_first_none_is_left(tmp_path: Path) -> None:
    (tmp_path / "one-fails-to-start").touch()
    with pytest.raises(ConnectionError, match=r"CannotStart: worker . .* ended with status 1"):
        Process(tmp_path, "--workers", "2")
    workers = [int(number) for number in re.findall(r"process (\d+)", (tmp_path / "log").read_text())]
    assert workers and not any(alive(worker) for worker in workers)
