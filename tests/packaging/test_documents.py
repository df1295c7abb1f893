"""The documents that operators read: what they quote is what the server says, and what they link to is there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.support.server import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*/README.md")])
TROUBLESHOOTING = ROOT / "docs" / "troubleshooting.md"
_PLACE = "\0"
"""What stands in a message for a value, here and where a document writes an ellipsis."""


@cache
def messages() -> str:
    """Every text in the source, one a line, with a mark for each value."""
    found = []
    for package in ("auth", "registry", "storage"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(re.sub(r"%(\.\d+)?[sdgrf]", _PLACE, node.value))
                elif isinstance(node, ast.JoinedStr):
                    found.append(
                        "".join(str(part.value) if isinstance(part, ast.Constant) else _PLACE for part in node.values)
                    )
    return "\n".join(text.replace("\n", " ") for text in found)


def is_said(quoted: str) -> bool:
    """Whether one text of the source has all parts of this one, in order."""
    parts = [re.escape(part.strip()) for part in quoted.split("…") if part.strip(" :")]
    return re.search(".*".join(parts), messages()) is not None


def cells(document: Path, heading: str, column: int) -> list[str]:
    """The cells of a table's column below a heading, without the table's own head."""
    section = document.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [row.strip("|").split(" | ")[column] for row in rows[2:]]


@pytest.mark.parametrize(
    ("heading", "column"),
    [
        ("The server does not start", 0),
        ("Pushing fails", 1),
        ("Events, webhooks and what tags were", 0),
        ("In the log", 0),
    ],
)
def test_messages_stand_as_the_server_writes_them(heading: str, column: int) -> None:
    """Whole messages in backticks; a setting or a word is not one."""
    quoted = [
        text
        for cell in cells(TROUBLESHOOTING, heading, column)
        for text in re.findall(r"`([^`]+)`", cell)
        if text.count(" ") > 2 and "Request Entity" not in text
    ]
    assert len(quoted) > 5
    assert [text for text in quoted if not is_said(text)] == []


def test_a_message_that_nobody_says_would_be_noticed() -> None:
    assert is_said("cannot listen on …: …")
    assert is_said("the port is in use: stop the server that has it")
    assert not is_said("the port is in use: stop the server that took it")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    """Files of the project, and headings in them."""
    missing = []
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        path, _, heading = target.partition("#")
        if ":" in target:
            continue  # another site's
        file = (document.parent / path).resolve() if path else document
        if not file.exists() or (heading and heading not in anchors(file)):
            missing.append(target)
    assert missing == []


def anchors(document: Path) -> set[str]:
    """What headings are linked to by."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_status_of_a_refusal_is_explained() -> None:
    """Each code that a push or a pull can get, with its status, has a row."""
    table = (ROOT / "registry" / "http" / "errors.py").read_text()
    statuses = set(re.findall(r": \((\d{3}), \"[A-Z_]+\"\)", table)) - {"405", "414"}
    explained = " ".join(cells(TROUBLESHOOTING, "Pushing fails", 0) + cells(TROUBLESHOOTING, "Pulling fails", 0))
    assert sorted(statuses - set(re.findall(r"\b\d{3}\b", explained))) == []
