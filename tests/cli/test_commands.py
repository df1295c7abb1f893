"""The command line as a whole: help with examples that hold, completion, and errors of one line."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from registry.__main__ import COMMANDS, build, command
from tests.cli.commands import printed, refused, stowage
from tests.support.server import ROOT


def paths() -> Iterator[tuple[str, ...]]:
    """Every command and group of commands, as it is typed."""
    yield ()
    for name in COMMANDS:
        yield (name,)
        yield from ((name, below) for below in getattr(command(name), "commands", ()))


@pytest.mark.parametrize("path", list(paths()), ids=" ".join)
def test_every_command_has_help_with_examples_that_are_understood(path: tuple[str, ...]) -> None:
    text = printed(*path, "--help")
    examples = [line.strip() for line in text.partition("Examples:\n")[2].splitlines()]
    assert examples
    for example in examples:
        program, *arguments = shlex.split(example)
        assert program == "stowage"
        assert tuple(arguments[: len(path)]) == path
        understood(arguments)


def understood(arguments: list[str]) -> None:
    """Parse a command line without running it. Fails with what is wrong with it."""
    found = typer.main.get_command(build())
    if arguments[:1] and arguments[0] in COMMANDS:
        found, arguments = command(arguments[0]), arguments[1:]
    while arguments and arguments[0] in getattr(found, "commands", ()):
        found, arguments = found.commands[arguments[0]], arguments[1:]  # type: ignore[attr-defined]  # a group has them
    if arguments != ["--help"]:
        found.make_context("stowage", list(arguments))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_each_says_of_itself(name: str) -> None:
    assert " ".join(command(name).help.split("\n\n")[0].split()) == COMMANDS[name].help
    assert command(name).name == name


@pytest.mark.parametrize(
    ("arguments", "unneeded"),
    [
        (["--help"], ["pydantic", "sqlalchemy", "starlette", "boto3", "registry.settings", "registry.cli"]),
        (["serve", "--help"], ["alembic", "asyncpg", "boto3", "opentelemetry", "tarfile", "registry.cli.takeover"]),
    ],
    ids=" ".join,
)
def test_what_a_command_does_not_need_is_not_imported(arguments: list[str], unneeded: list[str]) -> None:
    script = (
        "import sys, registry.__main__ as program\n"
        "try: program.main(sys.argv[1:])\n"
        "finally: print(*sys.modules, sep='\\n', file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert "Usage: stowage" in done.stdout
    assert not set(unneeded) & set(done.stderr.splitlines())


def test_without_a_command_it_shows_help_and_fails() -> None:
    done = stowage()
    assert done.returncode == 2
    assert done.stdout == ""
    for name in COMMANDS:
        assert f"\n  {name} " in done.stderr


def test_the_version_is_printed() -> None:
    assert printed("--version").startswith("stowage 0.")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("serv",), ["serve", "`stowage --help`"]),
        (("check", "--prot", "1"), ["--prot", "--port", "`stowage check --help`"]),
        (("check", "--port", "many"), ["--port", "integer"]),
        (("check", "--data"), ["--data"]),
        (("migrate", "now"), ["now"]),
        (("maintenance",), ["`stowage maintenance --help`"]),
        (("maintenance", "away"), ["away"]),
    ],
)
def test_a_wrong_call_is_one_line_with_the_way_out_and_status_2(arguments: tuple[str, ...], named: list[str]) -> None:
    text = refused(*arguments, status=2)
    assert len(text.splitlines()) == 1
    for word in named:
        assert word in text


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_offered_for(shell: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "registry"],
        cwd=ROOT,
        env={**os.environ, "_STOWAGE_COMPLETE": f"source_{shell}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "_STOWAGE_COMPLETE" in done.stdout


def test_bash_completes_commands_and_options(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    assert bash, "bash is not installed"
    program = tmp_path / "stowage"
    program.write_text(f'#!/bin/sh\ncd {ROOT} && exec {sys.executable} -m registry "$@"\n')
    program.chmod(0o755)
    script = (
        'eval "$(stowage --show-completion bash)"\n'
        "COMP_WORDS=(stowage maint); COMP_CWORD=1; _stowage_completion stowage; echo ${COMPREPLY[@]}\n"
        "COMP_WORDS=(stowage maintenance o); COMP_CWORD=2; _stowage_completion stowage; echo ${COMPREPLY[@]}\n"
    )
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        [bash, "-c", script], env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["maintenance", "on", "off"]
