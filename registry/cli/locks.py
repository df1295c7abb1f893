"""`stowage lock`, `unlock` and `locks`: manifests that nobody deletes, and nothing collects."""

import json
from typing import Annotated

import typer

from registry.cli.client import Client
from registry.cli.options import JsonOption, examples, fail
from registry.cli.rights import columns
from registry.cli.where import on_registry

_IMAGE = "team/app@sha256:0123..."
_SERVER = "--server https://registry.example.org"
LOCK_EXAMPLES = examples(f"stowage lock {_IMAGE} --reason 'released to customers'", f"stowage lock {_IMAGE} {_SERVER}")
UNLOCK_EXAMPLES = examples(f"stowage unlock {_IMAGE}", f"stowage unlock {_IMAGE} {_SERVER}")
LOCKS_EXAMPLES = examples("stowage locks team/app --json", f"stowage locks team/app {_SERVER}")

ManifestArgument = Annotated[
    str, typer.Argument(metavar="REPOSITORY@DIGEST", help="Which manifest.", show_default=False)
]


@on_registry
def lock(
    client: Client,
    manifest: ManifestArgument,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Told to whoever is refused for it.")] = "",
) -> None:
    """Lock a manifest: nobody deletes it, and nothing collects it or what it consists of."""
    repository, digest = _parts(manifest)
    client.post("locks", {"repository": repository, "digest": digest, "reason": reason})
    typer.echo(f"{repository}@{digest} is locked")


@on_registry
def unlock(client: Client, manifest: ManifestArgument) -> None:
    """Unlock a manifest."""
    repository, digest = _parts(manifest)
    client.delete("locks", {"repository": repository, "digest": digest})
    typer.echo(f"{repository}@{digest} is unlocked")


@on_registry
def locks(
    client: Client,
    repository: Annotated[str, typer.Argument(metavar="REPOSITORY", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """List the locked manifests of a repository."""
    found = list(client.every("locks", {"repository": repository}))
    if as_json:
        typer.echo(json.dumps(found))
        return
    rows = [(one["digest"], one["createdAt"], one["createdBy"], one["reason"]) for one in found]
    typer.echo(columns(("DIGEST", "SINCE", "BY", "REASON"), rows))


def _parts(manifest: str) -> tuple[str, str]:
    repository, separator, digest = manifest.partition("@")
    if not separator or not repository:
        fail(f"{manifest[:100]!r}: expected REPOSITORY@DIGEST")
    return repository, digest
