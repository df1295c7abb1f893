"""The conformance suite against a server on S3: the checks of blobs, where storage matters."""

import subprocess
import sys

from tests.support.server import ROOT, Server

CHECKS = (
    "pulling-blobs",
    "pushing-a-blob-in-chunks",
    "pushing-blobs",
    "post-then-put",
    "single-post",
    "deleting-blobs",
    "mounting-a-blob",
    "cancel-a-blob-upload",
    "checking-if-content-exists",
)


def test_the_suite_finds_nothing(shared: Server) -> None:
    chosen = [argument for name in CHECKS for argument in ("--only", name)]
    command = [sys.executable, "-m", "conformance", "--url", shared.url, *chosen, "--fail-on", "should"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
