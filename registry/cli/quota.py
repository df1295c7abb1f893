"""`stowage quota`: what projects may hold, and what they hold of it."""

import json
import sys
from typing import Annotated, Any, Literal

import typer
from pydantic import TypeAdapter, ValidationError

from registry.cli.client import Client, at
from registry.cli.options import JsonOption, examples
from registry.cli.progress import shown, size
from registry.cli.where import WHERE, on_registry
from registry.setting_types import Size

_NONE = "none"
_LARGEST = 2**62
_VISIBLE = "visible"


def _bytes(text: str) -> int | str:
    if text == _NONE:
        return text
    try:
        return _bounded(TypeAdapter[int](Size).validate_python(text))
    except ValidationError:
        raise typer.BadParameter("expected a size like 10GiB or 500MB, or none") from None


def _tags(text: str) -> int | str:
    if text == _NONE:
        return text
    if not text.isascii() or not text.isdecimal():
        raise typer.BadParameter("expected a number like 100, or none")
    return _bounded(int(text))


def _bounded(number: int) -> int:
    if number > _LARGEST:
        raise typer.BadParameter(f"at most {_LARGEST}")
    return number


ProjectArgument = Annotated[str, typer.Argument(metavar="PROJECT", show_default=False)]
AnyProjectArgument = Annotated[
    str | None, typer.Argument(metavar="[PROJECT]", help="All that have a quota, if not given.", show_default=False)
]
BytesOption = Annotated[
    Any,
    typer.Option(
        "--bytes",
        metavar="SIZE",
        help="Most bytes, like 10GiB: each blob once, and manifests. `none` for no limit.",
        parser=_bytes,
        show_default=False,
    ),
]
TagsOption = Annotated[
    Any,
    typer.Option("--tags", metavar="NUMBER", help="Most tags. `none` for no limit.", parser=_tags, show_default=False),
]
CountsOption = Annotated[
    Literal["all", "visible", "tagged"] | None,
    typer.Option(
        "--count",
        help="What counts: all that takes space; what is visible, so not what was deleted; or only what tags lead to. "
        "[default: as before; for a new quota `quotas.counts`]",
        show_default=False,
    ),
]


def build() -> typer.Typer:
    """Return the commands below `quota`."""
    one, server = "stowage quota", "--server https://registry.example.org"
    app = typer.Typer(
        rich_markup_mode=None,
        help="Limit what projects may hold, and say what they hold of it.\n\n"
        "A push that would exceed a quota gets 403 DENIED with what is used and the limit, and leaves nothing behind. "
        f"What is there when a quota is set stays.\n\n{WHERE}",
        epilog=examples(f"{one} set team --bytes 10GiB --tags 100", f"{one} show", f"{one} show team {server}"),
    )
    data = "--data /var/lib/stowage"
    app.command(
        "set",
        epilog=examples(
            f"{one} set team --bytes 10GiB --tags 100",
            f"{one} set team --tags none {data}",
            f"{one} set team --bytes 10GiB --count all {server}",
        ),
    )(on_registry(set_quota))
    app.command(epilog=examples(f"{one} show", f"{one} show team --json {data}", f"{one} show {server}"))(
        on_registry(show)
    )
    app.command(epilog=examples(f"{one} clear team", f"{one} clear team {server}"))(on_registry(clear))
    app.command(epilog=examples(f"{one} check", f"{one} check team --json", f"{one} check team {server}"))(
        on_registry(check)
    )
    return app


def set_quota(
    client: Client,
    project: ProjectArgument,
    most_bytes: BytesOption = None,
    most_tags: TagsOption = None,
    counts: CountsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Limit what a project may hold. What is not said stays as it is.

    What is there is counted before the command ends; pushes go on meanwhile. If it is interrupted, a server goes on.
    """
    said = {"bytes": most_bytes, "tags": most_tags, "counts": counts}
    content = {name: None if value == _NONE else value for name, value in said.items() if value is not None}
    if not content:
        raise typer.TyperException("say --bytes, --tags or --count")
    found = client.patch(_quota(project), content)
    if not found["counted"]:
        _count(client, project)
        found = client.get(_quota(project))
    typer.echo(json.dumps(found) if as_json else told(found))


def show(client: Client, project: AnyProjectArgument = None, as_json: JsonOption = False) -> None:
    """Say what projects may hold, and what they do."""
    found = [client.get(_quota(project))] if project else list(client.every("quotas"))
    if as_json:
        typer.echo(json.dumps(found))
        return
    for one in found:
        typer.echo(told(one))
    if not found:
        typer.echo("no project has a quota")


def clear(client: Client, project: ProjectArgument) -> None:
    """Take a project's quota away."""
    had_one = client.get(_quota(project))["counts"] is not None
    client.delete(_quota(project))
    typer.echo(f"{project} has no quota now" if had_one else f"{project} had no quota")


def check(client: Client, project: AnyProjectArgument = None, as_json: JsonOption = False) -> None:
    """Count again what projects hold, and repair what was counted wrongly. Pushes go on meanwhile."""
    names = [project] if project else [one["project"] for one in client.every("quotas")]
    found = [_count(client, name) for name in names]
    if as_json:
        typer.echo(json.dumps(found))
        return
    for one in found:
        now = f"{size(one['bytes']['is'])} and {one['tags']['is']} tags"
        was = f"; {size(one['bytes']['was'])} and {one['tags']['was']} tags were recorded, which is repaired"
        typer.echo(f"{one['project']} uses {now}{'' if one['right'] else was}")
    if not found:
        typer.echo("no project has a quota")


def told(quota: dict[str, Any]) -> str:
    """Return a quota as a line."""
    if quota["counts"] is None:
        return f"{quota['project']} has no quota"
    held, tags = quota["bytes"], quota["tags"]
    most_bytes = "any" if held["limit"] is None else size(held["limit"])
    most_tags = "any" if tags["limit"] is None else str(tags["limit"])
    text = f"{quota['project']} uses {size(held['used'])} of {most_bytes}, and {tags['used']} of {most_tags} tags"
    kind = "" if quota["counts"] == _VISIBLE else f" (counts: {quota['counts']})"
    return text + kind + ("" if quota["counted"] else "; not all is counted yet")


def _quota(project: str) -> str:
    return at("projects", project, "quota")


def _count(client: Client, project: str) -> dict[str, Any]:
    with shown(lambda: f"counting what {project} holds", sys.stderr):
        found: dict[str, Any] = client.post(f"{_quota(project)}/count", is_long=True)
    return found
