"""What the commands share that handle people, projects and rights."""

from collections.abc import Sequence
from typing import Annotated

import typer

from registry.cli.client import at
from registry.cli.options import fail, parser_of
from registry.setting_types import Duration

EVERYWHERE = "*"
"""What commands call the whole registry, where a project is expected."""

ExpiresOption = Annotated[
    int | None,
    typer.Option(
        "--expires",
        metavar="TIME",
        help="When the token ends, like 12h or 90d. [default: never]",
        parser=parser_of(Duration, "a duration like 12h or 90d"),
        show_default=False,
    ),
]
LabelOption = Annotated[str, typer.Option("--name", metavar="TEXT", help="What to know the token by.")]
ScopeOption = Annotated[
    str | None,
    typer.Option(
        "--scope",
        metavar="SCOPE",
        help="The most it may be used for, like repository:team/app:pull. [default: all that its owner may]",
        show_default=False,
    ),
]
RepositoriesOption = Annotated[
    str,
    typer.Option(
        "--repositories",
        metavar="PATTERN",
        help="Only in repositories like this: * and ? within a component, ** across them.",
    ),
]


def path_in(project: str, collection: str) -> str:
    """Return the path of what there is of something in a project, or in the whole registry."""
    return collection if project == EVERYWHERE else at("projects", project, collection)


def pattern_in(project: str, pattern: str) -> str | None:
    """Return a pattern of repositories, None for no such limit, or end the command: there is no project for it."""
    if pattern and project == EVERYWHERE:
        fail("a pattern of repositories goes with a project")
    return pattern or None


def printable(text: str) -> str:
    """Return what somebody else chose without what a terminal would obey."""
    return "".join(one if one.isprintable() else "?" for one in text)


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table: as wide as it has to be, the last column as it is."""
    lines = [head, *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(head) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]).rstrip()
        for line in lines
    )
