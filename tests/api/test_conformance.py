"""The project's own conformance suite has nothing to say about the server."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.server import ROOT, ServerFactory


@pytest.mark.parametrize("sparse", ["deny", "allow"])
def test_no_requirement_fails(fresh_server: ServerFactory, tmp_path: Path, sparse: str) -> None:
    server = fresh_server(STOWAGE_MANIFESTS__SPARSE=sparse)
    done = subprocess.run(
        [sys.executable, "-m", "conformance", "--url", server.url, "--report", str(tmp_path / "report")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "MUST" in done.stdout
    assert (tmp_path / "report" / "junit.xml").exists()
