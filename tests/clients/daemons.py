"""Engines that clients talk to, each with its data, state and socket in one folder, ended by their process."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.clients.mounts import remove_folder
from tests.clients.tools import Tool, ToolError

_CONTAINERD = """\
version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
address = "{folder}/s"
"""
"""Without Kubernetes, which would ask for network plugins, and without a folder for plugins in /opt."""


@contextmanager
def docker_engine(engine: Tool, folder: Path) -> Iterator[str]:
    """Run `dockerd`; the value is what `docker --host` takes."""
    options = ["--host", f"unix://{folder}/s", "--data-root", str(folder / "d"), "--exec-root", str(folder / "x")]
    options += ["--pidfile", str(folder / "pid"), "--storage-driver=vfs", "--iptables=false", "--ip6tables=false"]
    with _running(engine, [*options, "--bridge=none"], folder, greeting="API listen on"):
        yield f"unix://{folder}/s"


@contextmanager
def containerd(daemon: Tool, folder: Path) -> Iterator[str]:
    """Run `containerd`; the value is what `ctr --address` takes."""
    (folder / "config.toml").write_text(_CONTAINERD.format(folder=folder))
    options = ["--config", str(folder / "config.toml")]
    with _running(daemon, options, folder, greeting="containerd successfully booted"):
        yield f"{folder}/s"


@contextmanager
def _running(daemon: Tool, options: list[str], folder: Path, *, greeting: str) -> Iterator[None]:
    """Start a daemon with its socket `s` in the folder, wait for it, and end it and the folder afterwards."""
    log = folder / "engine.log"
    process = daemon.start(*options, log=log)
    try:
        deadline = time.monotonic() + 300
        while not (folder / "s").exists() or greeting not in log.read_text(errors="replace"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise ToolError(f"{daemon.path.name} did not start\n{log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        try:
            process.wait(90)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        finally:
            remove_folder(folder)
