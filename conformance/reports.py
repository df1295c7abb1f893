"""Writes the three reports of a run into a folder."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from conformance.junit import junit
from conformance.page import page
from conformance.report import Report
from conformance.results import results, yaml_lines


def write(report: Report, folder: Path) -> None:
    """Write `junit.xml`, `results.yaml` and `report.html` into a folder, which is made when missing.

    Raises:
        OSError: they cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tree = ElementTree.ElementTree(junit(report))
    ElementTree.indent(tree)
    tree.write(folder / "junit.xml", encoding="utf-8", xml_declaration=True)
    text = "".join(f"{line}\n" for line in yaml_lines(results(report)))
    (folder / "results.yaml").write_text(text, encoding="utf-8")
    (folder / "report.html").write_text(page(report), encoding="utf-8")
