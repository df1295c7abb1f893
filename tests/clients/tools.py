"""Programs that the tests run, and what they printed."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.server import ROOT

SECONDS = 400.0
"""How long a program may take."""


class ToolError(AssertionError):
    """A program is missing, failed, or succeeded where it should have failed."""


@dataclass(frozen=True)
class Output:
    """What a program printed, in text and in order of the streams."""

    stdout: str
    stderr: str

    @property
    def both(self) -> str:
        """Standard output, then standard error."""
        return self.stdout + self.stderr


@dataclass(frozen=True)
class Tool:
    """A program with the arguments and environment variables that every call gets."""

    path: Path
    arguments: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self, *arguments: str | Path, seconds: float = SECONDS) -> Output:
        """Run it to its end.

        Raises:
            ToolError: it exited with another status than 0, or ran for more than `seconds`.
        """
        status, output = self._run(arguments, seconds)
        if status != 0:
            raise ToolError(f"{self._text(arguments)}\nexited with {status}\n{output.both}")
        return output

    def fail(self, *arguments: str | Path, seconds: float = SECONDS) -> Output:
        """Run it to its end, and expect it to fail.

        Raises:
            ToolError: it exited with status 0, or ran for more than `seconds`.
        """
        status, output = self._run(arguments, seconds)
        if status == 0:
            raise ToolError(f"{self._text(arguments)}\nshould have failed, but printed\n{output.both}")
        return output

    def start(self, *arguments: str | Path, log: Path) -> subprocess.Popen[bytes]:
        """Start it in a process group of its own, its output appended to `log`, and don't wait."""
        with log.open("ab") as stream:
            return subprocess.Popen(
                self._command(arguments),
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _run(self, arguments: Sequence[str | Path], seconds: float) -> tuple[int, Output]:
        try:
            ended = subprocess.run(
                self._command(arguments),
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                text=True,
                errors="replace",
                timeout=seconds,
            )
        except subprocess.TimeoutExpired as error:
            raise ToolError(f"{self._text(arguments)}\nran for more than {seconds:.0f} s\n{error.stderr!r}") from None
        return ended.returncode, Output(ended.stdout, ended.stderr)

    def _command(self, arguments: Sequence[str | Path]) -> list[str]:
        return [str(self.path), *self.arguments, *map(str, arguments)]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.environment}

    def _text(self, arguments: Sequence[str | Path]) -> str:
        return " ".join(self._command(arguments))


def find_tool(name: str) -> Path:
    """Where a program is: in `bin` of the folder that STOWAGE_TOOLS names or of `.tools`, or on PATH.

    Raises:
        ToolError: it is nowhere.
    """
    folders = [
        str(Path(os.environ.get("STOWAGE_TOOLS", ROOT / ".tools")) / "bin"),
        os.environ.get("PATH", ""),
        "/usr/sbin",
    ]
    found = shutil.which(name, path=os.pathsep.join(filter(None, folders)))
    if found is None:
        raise ToolError(f"{name} is missing, and these tests need it: `make test` installs it")
    return Path(found)
