"""Logs: one record, one line, one write, nothing that steers a terminal, nothing that floods."""

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from registry import logs
from registry.watching_settings import LogSettings
from tests.support.server import ROOT

pytestmark = pytest.mark.anyio
HOSTILE = "a\nfake line\r\x1b[31m\x00\u2028\u202e\x9b"
logger = logging.getLogger("stowage.test")


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)


def configure(form: str = "json", level: str = "info") -> None:
    logs.configure(LogSettings.model_validate({"format": form, "level": level}), "an-instance")


def lines(capfd: pytest.CaptureFixture[str]) -> list[str]:
    text = capfd.readouterr().err
    assert text == "" or text.endswith("\n")
    return text.splitlines()


def records(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(capfd)]


def test_a_record_is_json_with_its_fields_and_who_wrote_it(capfd: pytest.CaptureFixture[str]) -> None:
    configure()
    logger.info("%d of %s", 3, "four", extra={"url": "http://x", "count": 7})
    (found,) = records(capfd)
    assert found.pop("time").endswith("Z")
    assert found == {
        "level": "info",
        "logger": "stowage.test",
        "process": os.getpid(),
        "instance": "an-instance",
        "message": "3 of four",
        "url": "http://x",
        "count": 7,
    }


def test_as_text_fields_follow_the_message(capfd: pytest.CaptureFixture[str]) -> None:
    configure("text")
    logger.warning("full", extra={"left": 0, "where": "a folder"})
    (line,) = lines(capfd)
    assert line.endswith(f' WARNING [{os.getpid()}] stowage.test: full left=0 where="a folder"')


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_came_from_outside_can_not_begin_a_line_or_steer_a_terminal(
    capfd: pytest.CaptureFixture[str], form: str
) -> None:
    configure(form)
    logger.error("%s", HOSTILE, extra={"field": HOSTILE})
    written = capfd.readouterr().err
    assert written.count("\n") == 1
    assert all(character.isprintable() for character in written[:-1])
    if form == "json":
        assert json.loads(written)["message"] == HOSTILE


def test_a_traceback_stays_with_its_record(capfd: pytest.CaptureFixture[str]) -> None:
    for form in ("json", "text"):
        configure(form)
        try:
            raise KeyError(HOSTILE)
        except KeyError:
            logger.exception("failed in %s", form)
    first, second, *trace = lines(capfd)
    assert "KeyError" in json.loads(first)["exception"]
    assert second.endswith("failed in text")
    assert trace
    assert all(line.startswith("    ") for line in trace)
    assert "\x1b" not in "".join(trace)


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_long_record_is_as_long_as_a_pipe_takes_at_once(capfd: pytest.CaptureFixture[str], form: str) -> None:
    configure(form)
    logger.info("begin %s end", "x" * 20_000, extra={"more": "é" * 5000, "short": "kept"})
    (line,) = lines(capfd)
    assert 2000 < len(line.encode()) < 4096
    assert "begin x" in line
    assert "x end" in line
    assert "kept" in line


def test_a_record_is_one_write() -> None:
    """The reader of a pipe of packets gets each write by itself (pipe(2), O_DIRECT)."""
    reading, writing = os.pipe2(os.O_DIRECT)
    code = (
        "import logging; from registry import logs; from registry.watching_settings import LogSettings\n"
        "logs.configure(LogSettings(format='text'), 'x')\n"
        "try: 1 / 0\n"
        "except ZeroDivisionError: logging.getLogger('a').exception('one')\n"
        "logging.getLogger('a').info('two')\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, stderr=writing, check=True)
    os.close(writing)
    packets = []
    while packet := os.read(reading, 65536):
        packets.append(packet)
    os.close(reading)
    assert len(packets) == 2
    assert b"one" in packets[0]
    assert b"ZeroDivisionError" in packets[0]
    assert packets[1].endswith(b"two\n")


def test_records_below_the_level_are_not_written(capfd: pytest.CaptureFixture[str]) -> None:
    configure(level="warning")
    logger.info("no")
    logging.getLogger("uvicorn.error").info("no")
    logger.warning("yes")
    assert [record["message"] for record in records(capfd)] == ["yes"]


def test_a_record_carries_the_request_that_is_served(capfd: pytest.CaptureFixture[str]) -> None:
    configure()
    token = logs.request_id.set("r-1")
    logger.info("within")
    logs.request_id.reset(token)
    logger.info("after")
    within, after = records(capfd)
    assert within["request_id"] == "r-1"
    assert "request_id" not in after


async def test_errors_that_repeat_are_one_a_second_with_the_number_of_others(
    capfd: pytest.CaptureFixture[str],
) -> None:
    configure()
    for number in range(50):
        token = logs.request_id.set(f"r-{number}")
        logger.error("no room: %s", OSError(number))
        logs.request_id.reset(token)
    logger.error("no room: %s", ValueError("another kind"))
    logger.error("another message: %s", OSError(0))
    logger.warning("job %s waits", "one-job")
    logger.warning("job %s waits", "other-job")
    for number in range(50):
        logger.info("not an error %d", number)
    at_once = records(capfd)
    assert [record["message"] for record in at_once if record["level"] != "info"] == [
        "no room: 0",
        "no room: another kind",
        "another message: 0",
        "job one-job waits",
        "job other-job waits",
    ]
    assert len(at_once) == 5 + 50
    await asyncio.sleep(1.2)
    (last,) = records(capfd)
    assert (last["message"], last["left_out"], last["request_id"]) == ("no room: 49", 48, "r-49")


def test_outside_an_event_loop_nothing_is_left_out(capfd: pytest.CaptureFixture[str]) -> None:
    configure()
    for number in range(5):
        logger.error("worker %d died", number)
    assert len(records(capfd)) == 5


def test_warnings_of_python_are_records_too(capfd: pytest.CaptureFixture[str]) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-c"),
            "import warnings; from registry import logs; from registry.watching_settings import LogSettings\n"
            "logs.configure(LogSettings(format='json'), 'x'); warnings.warn('look out')",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "look out" in json.loads(done.stderr)["message"]


def test_who_has_closed_standard_error_loses_records_and_nothing_else() -> None:
    code = (
        "import logging, os; from registry import logs; from registry.watching_settings import LogSettings\n"
        "logs.configure(LogSettings(format='json'), 'x'); os.close(2)\n"
        "logging.getLogger('a').error('lost'); print('went on')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "went on\n"
    assert done.returncode == 0


def test_structlog_comes_without_rich_and_rich_can_be_had_afterwards() -> None:
    code = (
        "import sys; from registry import logs; from registry.watching_settings import LogSettings\n"
        "logs.configure(LogSettings(), 'x'); assert 'rich' not in sys.modules; import rich; print(rich.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "rich\n"
