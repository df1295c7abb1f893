"""A process killed while it publishes leaves no object or a whole one, and nothing that can't be swept."""

import asyncio
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage.digest import digest_bytes
from storage.filesystem import FilesystemDriver
from tests.storage.conftest import read_all

pytestmark = pytest.mark.anyio

REPOSITORY = Path(__file__).parents[2]


@contextmanager
def pusher(root: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a process that publishes under `root`."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.storage.pusher", str(root), *arguments],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def files_below(root: Path) -> set[str]:
    """Return the paths of all files, relative to `root`."""
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


async def check_and_sweep(root: Path, acknowledged: set[str]) -> int:
    """Check that objects are whole and acknowledged ones are there; remove uploads and return how many there were."""
    driver = FilesystemDriver(root)
    await driver.start()
    found = set()
    async for item in driver.objects():
        found.add(item.name)
        reader = await driver.open(item.name)
        assert digest_bytes(await read_all(reader)).split(":")[1] in item.name
        reader.close()
    assert acknowledged <= found
    uploads = [item.name async for item in driver.uploads()]
    for name in uploads:
        await driver.remove_upload(name, "")
    assert [item.name async for item in driver.uploads()] == []
    await driver.close()
    assert {name for name in files_below(root) if ".probe-" not in name} == found
    return len(uploads)


async def test_killed_before_any_system_call_of_a_push(tmp_path: Path) -> None:
    killed = 0
    acknowledged: set[str] = set()
    uploads = 0
    for call in range(200):
        with pusher(tmp_path, str(call)) as process:
            assert process.stdout is not None
            lines = process.stdout.read().splitlines()
            status = process.wait(120)
        assert lines[:1] == ["started"]
        acknowledged.update(lines[1:])
        uploads += await check_and_sweep(tmp_path, acknowledged)
        if status == 0:
            break
        killed += 1
    # A push makes a dozen calls at least: were they not counted, nothing would have been shown.
    assert 10 < killed < 199
    assert uploads > 5
    assert acknowledged


async def test_killed_at_any_moment(tmp_path: Path) -> None:
    chance = random.Random()
    acknowledged: set[str] = set()
    for number in range(12):
        with pusher(tmp_path) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "started\n"
            if number % 3 == 0:  # else it may never get to the end of a push, on a disk that takes its time
                acknowledged.add(process.stdout.readline().removesuffix("\n"))
            await asyncio.sleep(chance.uniform(0, 0.15))
            process.kill()
            lines = process.stdout.read().splitlines(keepends=True)
            acknowledged.update(line[:-1] for line in lines if line.endswith("\n"))
        await check_and_sweep(tmp_path, acknowledged)
    assert acknowledged
