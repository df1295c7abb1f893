"""Retention while every replica pushes: what was moved stays, and each tag goes once, whoever runs the policy."""

import json
import os
import random
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from tests.cli.commands import printed
from tests.factories import OCI_INDEX, digest_of, index_manifest, put_manifest
from tests.support.fleet import Fleet
from tests.support.server import ROOT

TAGS = 500


def test_policies_run_while_all_push(
    fleet: Fleet, replicas: list[httpx.Client], repository: str, tmp_path: Path
) -> None:
    _fill(fleet, replicas[0], repository)
    name = f"policy-{uuid.uuid4().hex[:8]}"
    rule = {"template": "lastXDays", "days": 1, "repositories": {"matches": repository}}
    file = tmp_path / "policy.json"
    file.write_text(json.dumps({"rules": [rule]}))
    printed("retention", "add", "*", name, "--file", str(file), **fleet.settings)
    over = threading.Event()

    def push(number: int) -> dict[str, str]:
        """Push to a third of the tags until the policy has run, and return what each names."""
        chosen, moved = random.Random(number), dict[str, str]()
        client = replicas[number]
        while not over.is_set():
            tag = _tag(chosen.randrange(number, TAGS, len(replicas)))
            content = index_manifest([], annotations={"unique": uuid.uuid4().hex})
            answer = put_manifest(client, repository, tag, content, OCI_INDEX)
            assert answer.status_code == 201, answer.text
            moved[tag] = digest_of(content)
        return moved

    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "registry", "retention", "run", "*", name]
        environment = {**os.environ, **fleet.settings}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    with ThreadPoolExecutor(2 + len(replicas)) as pool:
        pushing = [pool.submit(push, number) for number in range(len(replicas))]
        running = [pool.submit(run) for _ in range(2)]
        try:
            done = [one.result() for one in running]
        finally:
            over.set()
        moved = {tag: digest for one in pushing for tag, digest in one.result().items()}
    ran = [one for one in done if one.returncode == 0]
    assert ran and all("one at a time" in one.stderr for one in done if one.returncode), done
    assert _named(fleet, repository) == moved
    runs = json.loads(printed("retention", "runs", "*", name, "--json", **fleet.settings))
    assert {one["state"] for one in runs} == {"done"}
    assert len(runs) == len(ran)
    ended = _sql(fleet, "SELECT h.tag FROM tag_history h", repository, "h.ended_cause = 'retention'")
    told = _sql(fleet, "SELECT o.payload FROM outbox o", repository, "o.action = 'untag'", key="repository")
    assert len(ended) == len(set(ended)) == len(told) == sum(one["dropped"] for one in runs)
    printed("retention", "remove", "*", name, **fleet.settings)


def _tag(number: int) -> str:
    return f"t{number:04}"


def _fill(fleet: Fleet, client: httpx.Client, repository: str) -> None:
    """Give a repository tags that are old."""
    content = index_manifest([], annotations={"unique": uuid.uuid4().hex})
    assert put_manifest(client, repository, _tag(0), content, OCI_INDEX).status_code == 201
    numbers = f"generate_series(1, {TAGS - 1}) AS n, repositories r"
    where = f"r.name = '{repository}'"
    fleet.replicas[0].sql(
        "INSERT INTO tags (repository_id, name, manifest_id, updated_at) SELECT r.id, 't' || lpad(n::text, 4, '0'),"
        f" t.manifest_id, 1 FROM {numbers} JOIN tags t ON t.repository_id = r.id WHERE {where};"
        "INSERT INTO tag_history (repository_id, tag, manifest_id, digest, started_at, started_by)"
        " SELECT r.id, 't' || lpad(n::text, 4, '0'), h.manifest_id, h.digest, 1, 'test'"
        f" FROM {numbers} JOIN tag_history h ON h.repository_id = r.id WHERE {where};"
        f"UPDATE tags SET updated_at = 1 FROM repositories r WHERE repository_id = r.id AND {where}"
    )


def _named(fleet: Fleet, repository: str) -> dict[str, str]:
    """What the tags name."""
    rows = fleet.replicas[0].sql(
        "SELECT t.name, m.digest FROM tags t JOIN manifests m ON m.id = t.manifest_id"
        f" JOIN repositories r ON r.id = t.repository_id WHERE r.name = '{repository}'"
    )
    return {row[0]: row[1] for row in rows}


def _sql(fleet: Fleet, select: str, repository: str, condition: str, *, key: str = "") -> list[str]:
    """Rows of what belongs to a repository, by its id or its name."""
    letter = condition[0]
    of = (
        f"{letter}.{key} = '{repository}'"
        if key
        else (f"{letter}.repository_id = (SELECT id FROM repositories WHERE name = '{repository}')")
    )
    return [row[0] for row in fleet.replicas[0].sql(f"{select} WHERE {of} AND {condition}")]
