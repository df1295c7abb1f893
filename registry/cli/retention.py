"""`stowage retention`: which tags stay."""

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from registry.cli.client import Client, at
from registry.cli.options import JsonOption, examples, fail
from registry.cli.rights import columns, path_in, printable
from registry.cli.where import WHERE, on_registry

_LARGEST = 64 * 1024

ProjectArgument = Annotated[
    str, typer.Argument(metavar="PROJECT", help="A project, or * for the whole registry.", show_default=False)
]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="What the policy is called.", show_default=False)]
FileOption = Annotated[
    Path,
    typer.Option(
        "--file",
        metavar="FILE",
        help="YAML or JSON with `rules` and `schedule`; - for standard input.",
        allow_dash=True,
    ),
]


def build() -> typer.Typer:
    """Return the commands below `retention`."""
    one, server = "stowage retention", "--server https://registry.example.org"
    app = typer.Typer(
        rich_markup_mode=None,
        help="Say by rules which tags stay, and remove the others.\n\n"
        "They go by a schedule, or when `run` says so, and can be had back while history.window lasts.\n\n"
        f"{WHERE}",
        epilog=examples(
            f"{one} add team nightly --file nightly.yaml",
            f"{one} run team nightly --dry-run",
            f"{one} runs team nightly",
        ),
    )

    def lines(*arguments: str) -> str:
        return examples(*(f"{one} {line}" for line in arguments))

    app.command(epilog=lines("add team nightly --file nightly.yaml", f"add '*' weekly --file - {server}"))(
        on_registry(add)
    )
    app.command("list", epilog=lines("list team --json", f"list '*' {server}"))(on_registry(list_policies))
    app.command(epilog=lines("show team nightly", f"show team nightly {server}"))(on_registry(show))
    app.command("set", epilog=lines("set team nightly --disable", f"set team nightly --file nightly.yaml {server}"))(
        on_registry(change)
    )
    app.command(epilog=lines("remove team nightly", f"remove team nightly {server}"))(on_registry(remove))
    app.command(epilog=lines("run team nightly --dry-run", f"run team nightly {server}"))(on_registry(run))
    app.command(epilog=lines("runs team nightly", f"runs team nightly --json {server}"))(on_registry(runs))
    return app


def add(client: Client, project: ProjectArgument, name: NameArgument, file: FileOption) -> None:
    """Make a policy."""
    client.post(path_in(project, "retention"), {**_read(file), "name": name})
    typer.echo(f"policy {name} was made")


def list_policies(client: Client, project: ProjectArgument, as_json: JsonOption = False) -> None:
    """List the policies of a project."""
    found = list(client.every(path_in(project, "retention")))
    if as_json:
        typer.echo(json.dumps(found))
        return
    rows = [
        (one["name"], str(len(one["rules"])), one["schedule"] or "-", one["dueAt"] or "never", one["createdBy"])
        for one in found
    ]
    typer.echo(columns(("POLICY", "RULES", "SCHEDULE", "DUE", "BY"), rows))


def show(client: Client, project: ProjectArgument, name: NameArgument, as_json: JsonOption = False) -> None:
    """Print a policy, in the form that `add` reads."""
    found = client.get(_path(project, name))
    if as_json:
        typer.echo(json.dumps(found))
        return
    known = {key: found[key] for key in ("schedule", "enabled", "rules")}
    typer.echo(yaml.safe_dump(_without_none(known), sort_keys=False), nl=False)


def change(
    client: Client,
    project: ProjectArgument,
    name: NameArgument,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="As with `add`.", allow_dash=True, show_default=False)
    ] = None,
    enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Whether its schedule counts.", show_default=False)
    ] = None,
) -> None:
    """Change a policy: its rules and schedule by a file, or whether it runs by itself."""
    content = {} if file is None else _read(file)
    if enabled is not None:
        content["enabled"] = enabled
    if not content:
        fail("nothing would be changed: say --file, --enable or --disable")
    client.patch(_path(project, name), content)
    typer.echo(f"policy {name} was changed")


def remove(client: Client, project: ProjectArgument, name: NameArgument) -> None:
    """Remove a policy. No tag goes with it."""
    client.delete(_path(project, name))
    typer.echo(f"policy {name} was removed")


def run(
    client: Client,
    project: ProjectArgument,
    name: NameArgument,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing, and say of each tag what keeps it.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a policy now. With --dry-run it prints a line for each tag; with --json each line is an object."""
    path = _path(project, name)
    if dry_run:
        for one in client.every(f"{path}/preview", is_long=True):
            word = "keep" if one["stays"] else "drop"
            line = json.dumps(one) if as_json else f"{word}  {one['repository']}:{one['tag']}  {one['reason']}"
            typer.echo(printable(line))
        return
    done = client.post(f"{path}/runs", is_long=True)
    typer.echo(json.dumps(done) if as_json else f"{done['dropped']} tags removed, {done['kept']} kept")


def runs(client: Client, project: ProjectArgument, name: NameArgument, as_json: JsonOption = False) -> None:
    """List what came of a policy's runs, the latest first."""
    found = list(client.every(f"{_path(project, name)}/runs"))
    if as_json:
        typer.echo(json.dumps(found))
        return
    rows = [
        (str(one["id"]), one["state"], one["beganAt"], str(one["kept"]), str(one["dropped"]), one["by"])
        for one in found
    ]
    typer.echo(columns(("RUN", "STATE", "BEGAN", "KEPT", "DROPPED", "BY"), rows))


def _path(project: str, name: str) -> str:
    return f"{path_in(project, 'retention')}/{at(name)}"


def _read(file: Path) -> dict[str, Any]:
    """Return what a file says, or end the command."""
    try:
        with nullcontext(sys.stdin) if str(file) == "-" else file.open(encoding="utf-8") as opened:
            text = opened.read(_LARGEST + 1)
        if len(text) > _LARGEST:
            fail(f"{file} is too large for a policy")
        content = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{file} can't be read: {error}")
    except (yaml.YAMLError, RecursionError) as error:
        fail(f"{file} is no YAML: {printable(str(error).splitlines()[0])}")
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        fail(f"{file}: expected `rules:` and `schedule:`")
    try:
        json.dumps(content)
    except (TypeError, ValueError):
        fail(f"{file}: expected words, numbers and lists: YAML's dates and the like are nothing for a policy")
    return content


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(one) for key, one in value.items() if one is not None}
    return [_without_none(one) for one in value] if isinstance(value, list) else value
