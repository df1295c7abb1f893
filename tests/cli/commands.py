"""The `stowage` command, run to its end."""

import io
import os
import signal
import subprocess
from contextlib import redirect_stderr, redirect_stdout
from tempfile import TemporaryFile
from unittest.mock import patch

import pytest

from registry.__main__ import main
from tests.support.nursery import nursery


def stowage(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run a command. `settings`: environment variables beside the present ones.

    `serve` gets a process of its own, which it changes.
    """
    if "serve" in arguments:
        return _serve(arguments, settings)
    output, errors = io.StringIO(), io.StringIO()
    with (
        patch.dict(os.environ, settings),
        redirect_stdout(output),
        redirect_stderr(errors),
        pytest.raises(SystemExit) as ended,
    ):
        main(arguments)
    status = ended.value.code or 0
    assert isinstance(status, int)
    return subprocess.CompletedProcess(arguments, status, output.getvalue(), errors.getvalue())


def _serve(arguments: tuple[str, ...], settings: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    with TemporaryFile("w+") as output, TemporaryFile("w+") as errors:
        process = nursery().start(arguments, {**os.environ, **settings}, output.fileno(), errors.fileno())
        try:
            status = process.wait(240)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(arguments, status, output.read(), errors.read())


def printed(*arguments: str, **settings: str) -> str:
    """Run a command that must succeed, and return what it prints, without the last line's end."""
    done = stowage(*arguments, **settings)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.rstrip("\n")


def refused(*arguments: str, status: int = 1, **settings: str) -> str:
    """Run a command that must fail, and return what it says: plain lines on stderr, nothing on stdout."""
    done = stowage(*arguments, **settings)
    assert done.returncode == status
    assert done.stdout == ""
    assert all(line.startswith("stowage: ") for line in done.stderr.splitlines()), done.stderr
    return done.stderr
