"""The suite as a process of its own, against real registries: it finds what others lack, and nothing here."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.servers import Distribution, DockerRegistry
from tests.support.people import ADMIN, People, settings_for
from tests.support.ports import free_port
from tests.support.server import ROOT, Server, ServerFactory

DEBIAN = {
    "MUST": {
        "listing-referrers/empty-list",
        "listing-tags/complete-and-in-order",
        "listing-tags/last",
        "listing-tags/limit",
        "listing-tags/limit-of-zero",
        "listing-tags/repository-without-tags",
        "pulling-manifests/accept-anything",
        "pushing-a-blob-in-chunks/chunk-left-out",
        "pushing-a-blob-in-chunks/chunk-overlapping",
        "pushing-a-blob-in-chunks/chunk-repeated",
        "pushing-a-blob-in-chunks/first-chunk-not-at-zero",
        "pushing-a-blob-in-chunks/last-chunk-out-of-order",
        "pushing-a-blob-in-chunks/recovery-after-416",
    },
    "SHOULD": {
        "api/method-not-allowed",
        "pulling-blobs/range-of-head",
        "pushing-a-blob-in-chunks/content-range-of-another-length",
        "pushing-a-blob-in-chunks/malformed-content-range",
        "pushing-a-blob-in-chunks/unknown-digest-algorithm",
        "pushing-manifests/too-large",
    },
    "MAY": {
        "deleting-tags/tag-deletion-is-supported",
        "listing-tags/link-is-offered",
        "pushing-manifests/sha512-is-supported",
        "pushing-manifests/tag-parameters-are-supported",
        "referrers-tag-schema/conditional-push",
        "single-post/single-post-is-supported",
    },
}
"""What docker-registry 2.8 does not do, beside what may differ among Debian's releases."""

DISTRIBUTION = {
    "MUST": {
        "error-codes/codes-of-the-table",
        "listing-referrers/empty-list",
        "listing-tags/repository-without-tags",
    },
    "SHOULD": {
        "api/method-not-allowed",
        "pulling-blobs/range-of-head",
        "pulling-blobs/range-of-unknown-unit",
        "pushing-a-blob-in-chunks/malformed-content-range",
        "pushing-a-blob-in-chunks/unknown-digest-algorithm",
        "pushing-manifests/too-large",
    },
    "MAY": {
        "error-codes/errors-have-codes",
        "mounting-a-blob-from-another-repository/mount-without-source",
        "post-then-put/post-without-the-last-slash",
        "pushing-blobs/sha512-in-the-digest-header",
        "pushing-manifests/nondistributable-layer",
        "pushing-manifests/sha512-is-supported",
        "pushing-manifests/tag-parameters-are-supported",
        "pushing-manifests/unknown-manifest-type",
        "referrers-tag-schema/conditional-push",
        "single-post/single-post-is-supported",
    },
}
"""All that distribution 3.1 does not do."""

LOGIN = "stowage, where people log in"


@dataclass(frozen=True)
class Run:
    """How a run of the suite ended."""

    status: int
    output: str
    folder: Path

    @property
    def results(self) -> Any:
        return yaml.safe_load((self.folder / "results.yaml").read_text(encoding="utf-8"))

    def named(self, *outcomes: str) -> dict[str, set[str]]:
        """The names of the checks that ended so, by their levels."""
        found: dict[str, set[str]] = {"MUST": set(), "SHOULD": set(), "MAY": set()}
        for one in self.results["checks"]:
            if one["outcome"] in outcomes:
                found[one["level"]].add(one["name"])
        return found


class Process:
    """The suite, running against a registry."""

    def __init__(self, url: str, folder: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "conformance", "--url", url, "--report", str(folder), *arguments]
        self._folder = folder
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def wait(self) -> Run:
        output, _ = self._process.communicate(timeout=600)
        return Run(self._process.returncode, output, self._folder)

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    """A run against each registry; they run at once, each waits for its registry most of the time."""
    folder = tmp_path_factory.mktemp("conformance")
    with ExitStack() as stack:
        stowage = stack.enter_context(Server(folder / "stowage"))
        peers = {"distribution": Distribution(folder / "v3"), "docker-registry": DockerRegistry(folder / "debian")}
        urls = {"stowage": stowage.url}
        for name, peer in peers.items():
            stack.callback(peer.stop)
            peer.port = free_port()  # its own is one that the kernel may give to a connection before it listens
            peer.start()
            urls[name] = f"http://127.0.0.1:{peer.port}"
        guarded = stack.enter_context(Server(folder / "login", settings_for({})))
        People(guarded).add_project("conformance")
        urls[LOGIN] = guarded.url
        running = {}
        for name, url in urls.items():
            who = ("--username", ADMIN[0], "--password", ADMIN[1]) if name == LOGIN else ()
            running[name] = Process(url, folder / "reports" / name, "--fail-on", "may", *who)
            stack.callback(running[name].end)
        yield {name: process.wait() for name, process in running.items()}


def test_nothing_is_found_in_stowage_and_nothing_is_left_out(runs: dict[str, Run]) -> None:
    run = runs["stowage"]
    assert run.status == 0, run.output
    counts = run.results["counts"]
    not_passed = [n for level in counts.values() for outcome, n in level.items() if outcome != "pass"]
    assert not any(not_passed), run.output
    assert sum(level["pass"] for level in counts.values()) == len(run.results["checks"]) > 200
    root = ElementTree.parse(run.folder / "junit.xml").getroot()  # noqa: S314 # the suite wrote it
    assert (root.get("failures"), root.get("errors"), root.get("skipped")) == ("0", "0", "0")


def test_nothing_else_is_found_where_people_log_in(runs: dict[str, Run]) -> None:
    """A token is for the repositories that it names, so that a blob is not mounted from any other."""
    run = runs[LOGIN]
    expected = {"MUST": set(), "SHOULD": set(), "MAY": {"mounting-a-blob-from-another-repository/mount-without-source"}}
    assert run.named("fail", "lacks", "not applicable") == expected, run.output
    assert run.results["removal"]["left"] == 0


def test_what_it_pushes_to_stowage_it_removes(runs: dict[str, Run]) -> None:
    removal = runs["stowage"].results["removal"]
    assert removal["removed"] > 100
    assert (removal["left"], removal["reason"]) == (0, "")


def test_what_distribution_lacks_is_found(runs: dict[str, Run]) -> None:
    run = runs["distribution"]
    assert run.status == 1, run.output
    assert run.named("fail", "lacks") == DISTRIBUTION


def test_what_docker_registry_lacks_is_found(runs: dict[str, Run]) -> None:
    run = runs["docker-registry"]
    assert run.status == 1, run.output
    found = run.named("fail", "lacks")
    assert {level: names - found[level] for level, names in DEBIAN.items()} == {
        "MUST": set(),
        "SHOULD": set(),
        "MAY": set(),
    }


@pytest.mark.parametrize("registry", ["distribution", "docker-registry"])
def test_what_is_not_applicable_is_so_because_of_a_finding(runs: dict[str, Run], registry: str) -> None:
    checks = {one["name"]: one for one in runs[registry].results["checks"]}
    silent = [one for one in checks.values() if one["outcome"] == "not applicable"]
    assert "pushing-manifests/tag-parameters" in {one["name"] for one in silent}
    assert {checks[one["see"]]["outcome"] for one in silent} <= {"fail", "lacks"}


@pytest.mark.parametrize("registry", ["distribution", "docker-registry"])
def test_the_page_shows_each_finding_with_what_was_asked_and_answered(runs: dict[str, Run], registry: str) -> None:
    run = runs[registry]
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    for one in run.results["checks"]:
        assert one["link"] in page
        assert (f'id="{one["name"]}"' in page) == (one["outcome"] in ("fail", "lacks"))
    assert "/referrers/sha256:" in page
    assert "{&#34;errors&#34;:[{&#34;code&#34;:&#34;MANIFEST_UNKNOWN&#34;" in page


def test_a_stowage_that_accepts_manifests_of_which_parts_are_missing(
    fresh_server: ServerFactory, tmp_path: Path
) -> None:
    server = fresh_server(STOWAGE_MANIFESTS__SPARSE="allow")
    run = Process(server.url, tmp_path / "report", "--only", "push/").wait()
    assert run.status == 0, run.output
    assert run.named("fail", "lacks")["MAY"] == {"push/missing-blob-is-refused", "push/missing-manifest-is-refused"}
    assert run.named("not applicable")["MUST"] == {"push/missing-blob", "push/missing-manifest"}
