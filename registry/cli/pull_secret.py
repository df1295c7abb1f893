"""`stowage pull-secret`: what a cluster, or a machine, pulls with."""

import sys
from typing import Annotated

import typer

from auth import secret_tokens
from registry.cli.client import Client, at
from registry.cli.options import examples, fail
from registry.cli.rights import ExpiresOption
from registry.cli.where import on_registry
from registry.services.pull_secrets import Format, is_host, written

EXAMPLES = examples(
    "stowage pull-secret team deployer --registry registry.example.org --format kubernetes",
    "stowage pull-secret team deployer --expires 90d",
    "stowage pull-secret team deployer --registry registry.example.org --token-stdin",
    "stowage pull-secret team deployer --server https://registry.example.org",
)


def _host(text: str) -> str:
    if not is_host(text):
        raise typer.BadParameter("expected HOST or HOST:PORT, as in the names of images")
    return text


@on_registry
def pull_secret(
    client: Client,
    project: Annotated[str, typer.Argument(metavar="PROJECT", help="The project's name.")],
    account: Annotated[str, typer.Argument(metavar="SERVICEACCOUNT", help="One of its service accounts.")],
    form: Annotated[
        Format,
        typer.Option(
            "--format",
            help="dockerconfigjson: docker's config.json, podman's auth.json; dockercfg: the older form; kubernetes: "
            "a Secret for `kubectl apply`.",
        ),
    ] = Format.DOCKERCONFIGJSON,
    registry: Annotated[
        str | None,
        typer.Option(
            "--registry",
            metavar="HOST",
            help="What names of images begin with. [default: that of --server, or of http.public_url]",
            parser=_host,
            show_default=False,
        ),
    ] = None,
    token_stdin: Annotated[
        bool, typer.Option("--token-stdin", help="Read a token of the account instead of making one.")
    ] = False,
    expires: ExpiresOption = None,
) -> None:
    """Print a pull secret of a service account, with a new token of its own."""
    if token_stdin and expires is not None:
        raise typer.TyperException("--expires goes with a new token, not with --token-stdin")
    host = registry or client.host
    if host is None:
        fail("say --registry HOST: what names of images begin with. http.public_url is not set")
    path = at("projects", project, "service-accounts", account)
    if not token_stdin:
        content = {"format": form.value, "host": host, "expiresInSeconds": expires}
        typer.echo(client.post(f"{path}/pull-secret", content)["content"])
        return
    token = _read_token()
    client.get(path)
    typer.echo(written(form, host, f"{project}/{account}", token))


def _read_token() -> str:
    token = sys.stdin.read(4096).strip()
    if not secret_tokens.is_one(token):
        fail(f"that is no token: they begin with {secret_tokens.PREFIX}")
    return token
