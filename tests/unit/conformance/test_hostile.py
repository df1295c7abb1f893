"""A registry that answers anything: the run comes to its end, and its reports stay what they are."""

import itertools
import random
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

from conformance.check import registered
from conformance.command import main
from tests.unit.conformance.serving import serving
from tests.unit.conformance.test_page import Page
from tests.unit.conformance.tiny import Answer, Request

TEXT = "</script><b>\x1b[2J\u202e\ud800]]>&#0; {{ 1 }} %s".encode("utf-8", "surrogatepass")
BODIES = (
    b"",
    TEXT,
    b"[" * 50_000,
    b'{"errors":[{"code":["' + TEXT.replace(b"\x1b", b"") + b'"]}]}',
    b'{"errors":{"code":1}}',
    b'{"name":{},"tags":[1,null],"manifests":[{"digest":7}],"schemaVersion":2,"repositories":"x"}',
    b'{"tags":null,"manifests":{},"errors":[7]}',
    b"\xff\xfe\x00",
)
HEADERS: tuple[dict[str, str], ...] = (
    {},
    {"Location": "http://[", "Range": "bytes", "OCI-Tag": ",,,"},
    {"Location": "/v2/a?x=%zz#\xe9", "Link": "<>; rel=next", "Docker-Content-Digest": "sha999:zz"},
    {"Location": "//127.0.0.1:1/x", "OCI-Chunk-Min-Length": "9" * 300, "Content-Type": "application/json;;"},
    {"Location": "", "Content-Range": "bytes 9-1/*", "ETag": "", "Warning": '299 - "' + "\\" * 60},
    {"Link": '<?n=1>; rel="next"', "Content-Type": "application/vnd.oci.image.index.v1+json"},
    {"Content-Encoding": "gzip", "Retry-After": "-1"},
)
STATUSES = (200, 200, 201, 202, 202, 204, 206, 301, 307, 400, 401, 404, 405, 416, 500, 999)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_against_nonsense_ends_with_reports_that_can_be_read(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    first = itertools.chain([True], itertools.repeat(False))

    def nonsense(request: Request) -> Answer | None:
        if next(first):
            return Answer(200)  # to be let in
        if chance.random() < 0.02:
            return None
        return Answer(chance.choice(STATUSES), chance.choice(HEADERS), chance.choice(BODIES))

    with serving(nonsense) as url:
        assert main(["--url", url, "--report", str(tmp_path), "--timeout", "5"]) == 1
    value = yaml.safe_load((tmp_path / "results.yaml").read_text(encoding="utf-8"))
    assert [one["name"] for one in value["checks"]] == [check.name for check in registered()]
    assert not value["conforming"]
    root = ElementTree.parse(tmp_path / "junit.xml").getroot()  # noqa: S314 # we wrote it
    assert len(list(root.iter("testcase"))) == len(value["checks"])
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert {"script", "b", "img"}.isdisjoint(name for name, _ in page.elements)
