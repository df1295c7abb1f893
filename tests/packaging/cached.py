"""What takes long to make and stays the same: a base for images, the wheels of the lock. Kept among the tools.

`python -m tests.packaging.cached` makes all of it, so that no test has to wait for a package index.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tests.clients.mounts import remove_folder
from tests.clients.tools import Tool, ToolError, find_tool
from tests.support.server import ROOT

LOCK = ROOT / "requirements" / "runtime.txt"
_PACKAGES = ("binutils", "ca-certificates", "python3", "python3-venv")
_LEFT_OUT = (
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
    "var/cache/apt",
    "var/lib/apt/lists",
)
_DEBOOTSTRAP_SECONDS = 1200
_DOWNLOAD_SECONDS = (60, 120, 240)


def base_image() -> Path:
    """Return a tar archive of a small Debian with Python, of this machine's release and from its mirror.

    Raises:
        ToolError: it can't be made; the message ends with what debootstrap said last.
    """
    release = platform.freedesktop_os_release()["VERSION_CODENAME"]
    recipe = "\n".join([release, platform.machine(), *_PACKAGES, *_LEFT_OUT])
    archive = _tools() / f"base-{release}-{_key(recipe)}.tar"
    if not archive.exists():
        folder = Path(tempfile.mkdtemp(prefix="stowage-base-"))
        try:
            _debootstrap(folder, release)
            _pack(folder, archive)
        finally:
            remove_folder(folder)
    return archive


def python_of(archive: Path) -> str:
    """Return which Python a base has, such as `3.11`."""
    with tarfile.open(archive) as packed:
        target = packed.getmember("./usr/bin/python3").linkname
    return target.removeprefix("python")


def wheels(python: str) -> Path:
    """Return a folder with all wheels of the lock for this machine and a version of Python, such as `3.11`.

    Raises:
        ToolError: pip can't get them.
    """
    folder = _tools() / f"wheels-{python}-{_key(LOCK.read_text())}"
    if not folder.exists():
        partial = Path(tempfile.mkdtemp(prefix="wheels-", dir=folder.parent))
        try:
            _download(python, partial)
            partial.chmod(0o755)
            os.replace(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder


def _download(python: str, folder: Path) -> None:
    """Get the wheels; an index that stalls is asked again, since the next answer is mostly there at once."""
    pip = Tool(Path(sys.executable), ("-m", "pip", "download", "--quiet", "--no-input"))
    exactly = ("--require-hashes", "--no-deps", "--only-binary=:all:", f"--python-version={python}")
    last = len(_DOWNLOAD_SECONDS) - 1
    for attempt, seconds in enumerate(_DOWNLOAD_SECONDS):
        try:
            pip.run(*exactly, f"--dest={folder}", f"--requirement={LOCK}", seconds=seconds)
        except ToolError:
            if attempt == last:
                raise
        else:
            break


def _debootstrap(folder: Path, release: str) -> None:
    options = ["--variant=minbase", f"--include={','.join(_PACKAGES)}"]
    command: list[str | Path] = [find_tool("debootstrap"), *options, release, folder, _mirror(release)]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        timeout=_DEBOOTSTRAP_SECONDS,
    )
    if done.returncode:
        raise ToolError(f"debootstrap exited with {done.returncode}\n{done.stdout[-4000:]}")


def _mirror(release: str) -> str:
    """Where this machine's apt gets the release from."""
    listed = Tool(find_tool("apt-get")).run(
        "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Identifier: Packages"
    )
    for line in listed.stdout.splitlines():
        where, _, what = line.partition(" ")
        if what == release and re.match(r"(https?|file):", where):
            return where
    raise ToolError(f"apt-get knows no http, https or file mirror of {release}: debootstrap needs one\n{listed.stdout}")


def _pack(folder: Path, archive: Path) -> None:
    """Pack a system as the slim images of Debian are: without what nobody reads in a container."""
    for one in _LEFT_OUT:
        shutil.rmtree(folder / one, ignore_errors=True)
    partial = archive.with_suffix(f".{os.getpid()}")
    folder.chmod(0o755)  # it becomes the root folder, which every user has to pass
    excluded = [f"--exclude=./{one}/*" for one in ("dev", "proc", "sys", "tmp")]
    try:
        Tool(find_tool("tar")).run("-C", folder, *excluded, "--numeric-owner", "-cf", partial, ".")
        os.replace(partial, archive)
    finally:
        partial.unlink(missing_ok=True)


def _tools() -> Path:
    folder = Path(os.environ.get("STOWAGE_TOOLS", ROOT / ".tools"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


if __name__ == "__main__":
    wheels(python_of(base_image()))
    wheels(f"{sys.version_info.major}.{sys.version_info.minor}")
