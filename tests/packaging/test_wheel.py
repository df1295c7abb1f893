"""The wheel and the source archive: complete, alike, and enough to run from in an empty environment."""

import email
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import httpx
import pytest

from registry import __version__
from tests.clients.tools import Tool, find_tool
from tests.packaging.cached import wheels
from tests.support.images import read_directory, sample_image, write_directory
from tests.support.ports import free_port
from tests.support.server import ROOT

PACKAGES = ("auth", "conformance", "registry", "storage")
_PYTHON = Path(sys.executable)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is built, since building leaves things behind."""
    folder = tmp_path_factory.mktemp("source")
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, folder)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def sdist(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source archive."""
    folder = tmp_path_factory.mktemp("sdist")
    code = f"from setuptools import build_meta; build_meta.build_sdist({str(folder)!r})"
    subprocess.run([_PYTHON, "-c", code], cwd=source, check=True, capture_output=True)
    [archive] = folder.iterdir()
    return archive


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built as `pip install .` builds it, with what the lock names for it."""
    return build_wheel(source, tmp_path_factory.mktemp("wheel"))


def build_wheel(source: Path, folder: Path) -> Path:
    arguments = ("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder, source)
    Tool(_PYTHON).run("-m", "pip", *arguments)
    [made] = folder.iterdir()
    return made


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_has_every_file_of_the_packages(wheel: Path, source: Path) -> None:
    """Migrations, templates and py.typed among them; READMEs are for readers of the source."""
    there = {
        str(file.relative_to(source))
        for package in PACKAGES
        for file in (source / package).rglob("*")
        if file.is_file() and file.name != "README.md" and "__pycache__" not in file.parts
    }
    assert {f"{package}/py.typed" for package in PACKAGES} <= there
    assert "registry/db/migrations/env.py" in there
    assert there - contents(wheel).keys() == set()


def test_the_wheel_has_nothing_else(wheel: Path) -> None:
    others = {name.split("/")[0] for name in contents(wheel)} - set(PACKAGES)
    assert others == {f"stowage-{__version__}.dist-info"}


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    assert wheel.name == f"stowage-{__version__}-py3-none-any.whl"
    files = contents(wheel)
    about = email.message_from_bytes(files[f"stowage-{__version__}.dist-info/METADATA"])
    assert about["Requires-Python"] == ">=3.11"
    assert about["License-Expression"] == "Apache-2.0"
    assert "conformance" in about.get_all("Provides-Extra", [])
    assert f"stowage-{__version__}.dist-info/licenses/LICENSE" in files
    assert about.get_payload().startswith("# Stowage")  # type: ignore[union-attr]  # not of several parts


def test_the_source_archive_builds_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    [unpacked] = (tmp_path / "unpacked").iterdir()
    built = contents(build_wheel(unpacked, tmp_path / "wheel"))
    record = f"stowage-{__version__}.dist-info/RECORD"
    assert built.keys() == contents(wheel).keys()
    assert [name for name, content in contents(wheel).items() if name != record and built[name] != content] == []


def test_it_installs_into_an_empty_environment_and_serves(wheel: Path, tmp_path: Path) -> None:
    """From the wheel and the lock's wheels alone, far from the checkout: pushed to and pulled from."""
    environment = tmp_path / "environment"
    subprocess.run([_PYTHON, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    packages = wheels(f"{sys.version_info.major}.{sys.version_info.minor}")
    pip = Tool(_PYTHON, ("-m", "pip", "--python", str(python)))
    pip.run("install", "--quiet", "--no-compile", "--no-index", f"--find-links={packages}", wheel, seconds=800)
    pip.run("check")
    stowage = environment / "bin" / "stowage"
    clean = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    said = subprocess.run([stowage, "--version"], cwd=tmp_path, env=clean, check=True, capture_output=True, text=True)
    assert said.stdout == f"stowage {__version__}\n"
    port = free_port()
    with (tmp_path / "log").open("wb") as log:
        command: list[str | Path] = [stowage, "serve", "--data", tmp_path / "data", "--port", str(port)]
        server = subprocess.Popen(command, cwd=tmp_path, env=clean, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until_ready(server, port, tmp_path / "log")
        image, skopeo = sample_image(busybox=False), Tool(find_tool("skopeo"))
        reference = f"docker://127.0.0.1:{port}/a/b:1"
        skopeo.run("copy", "--dest-tls-verify=false", f"dir:{write_directory(tmp_path / 'out', image)}", reference)
        skopeo.run("copy", "--src-tls-verify=false", reference, f"dir:{tmp_path / 'back'}")
        assert read_directory(tmp_path / "back").blobs == image.blobs
        server.terminate()
        assert server.wait(120) == 0
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def wait_until_ready(server: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass  # not listening yet
        time.sleep(0.1)
    raise AssertionError(f"not ready\n{log.read_text(errors='replace')}")
