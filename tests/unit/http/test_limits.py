"""Limits as the settings have them, and as the process's descriptors allow them."""

import resource
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from registry.http.limits import Limits
from registry.http_settings import LimitSettings
from registry.settings import load_settings

ROOT = Path(__file__).parents[3]
ASK = "from registry.http.limits import Limits; print(Limits(connections=1000).within_descriptors().connections)"


def test_the_defaults_are_those_of_the_settings() -> None:
    assert asdict(Limits()) == dict(LimitSettings())


def test_every_setting_has_its_place() -> None:
    given = {"connections": 7, "headers": 20, "head_size": "9KiB", "ignored_body": "1KiB", "idle": "3s", "stall": "1m"}
    limits = Limits.of(load_settings(command_line={"http": {"limits": given}}).http.limits)
    assert limits == Limits(connections=7, headers=20, head_size=9216, ignored_body=1024, idle=3, stall=60)


@pytest.mark.parametrize(
    ("soft", "hard", "connections"),
    [(10_000, 10_000, 1000), (256, 10_000, 1000), (1024, 1024, 256), (256, 256, 1), (64, 64, 1)],
)
def test_there_are_no_more_connections_than_descriptors_for_them(soft: int, hard: int, connections: int) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert most == resource.RLIM_INFINITY or most >= hard, f"this test needs a hard limit of {hard} open files"
    told = subprocess.run(
        [sys.executable, "-c", f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard})); {ASK}"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert int(told.stdout) == connections
