"""Endpoints of webhooks as they are set, shown, tried and told again. `docs/webhooks.md`."""

import json
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from auth.addresses import Network
from auth.errors import FetchRefused
from auth.guard import checked_url
from registry.db import authority, deliveries, events, jobs, projects, webhooks
from registry.db.connection import Database, Reader, Transaction
from registry.db.deliveries import Key
from registry.db.webhooks import Webhook
from registry.errors import RecordExists, RecordInUse, RecordUnknown, Unavailable, ValueInvalid
from registry.event import Event
from registry.services import audit, rights
from registry.services.audit import Origin
from registry.services.endpoints import NOT_OPENED, Endpoints, address_of, format_of, owner_of, written
from registry.services.rights import Change
from registry.services.sending import Sender, Sent
from registry.services.vault import Vault
from registry.webhook_settings import header_problem
from registry.webhooks import signature
from registry.webhooks.endpoint import Endpoint, Format, Options, Secrets
from registry.webhooks.formats import PING, message_for

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Definition:
    """What an endpoint is, as it is set."""

    url: str
    format: Format
    options: Options
    secrets: Secrets


@dataclass(frozen=True, slots=True)
class Status:
    """How an endpoint fares.

    Attributes:
        waiting: deliveries that failed and are tried again, or wait behind one.
        waiting_s: for how long the first of them has been waiting.
        given_up: deliveries that were.
        behind: events that the endpoint has not come to.
        behind_s: how old the first of them is.
    """

    waiting: int
    waiting_s: float
    given_up: int
    behind: int
    behind_s: float


class Webhooks:
    """Endpoints of the database, and what can be done with those of the settings. `project` "" is the whole registry.

    Args:
        networks: where they may be beside the internet.
        most: endpoints of one project, at most.
    """

    def __init__(self, database: Database, vault: Vault, *, networks: Sequence[Network], most: int) -> None:
        self._database = database
        self._vault = vault
        self._networks = networks
        self._most = most

    async def add(self, project: str, name: str, new: Definition, *, actor: str, paused: bool = False) -> None:
        """Make an endpoint, which is told of what happens from now on. `paused`: once it is resumed.

        Raises:
            RecordUnknown: there is no such project.
            RecordExists: there is one of that name.
            RecordInUse: there are too many.
            ValueInvalid: it can't be so.
            Unavailable: there is nothing to seal its secrets under.
        """
        self._check(new)

        origin = audit.origin()

        async def work(transaction: Transaction) -> None:
            await authority.change(transaction)  # nobody removes the project meanwhile, or adds one too many
            project_id = await projects.owner_id(transaction, project)
            if await webhooks.count(transaction, project_id) >= self._most:
                raise RecordInUse(f"there are {self._most} webhooks already, as many as delivery.most allows")
            if not await webhooks.add(
                transaction,
                project_id=project_id,
                name=name,
                is_file=False,
                address=address_of(new.url),
                format=new.format,
                options=written(new.options, new.secrets),
                sealed=self._vault.seal(owner_of(project_id, name), new.url, new.secrets),
                actor=actor,
            ):
                raise RecordExists(f"there is a webhook {name} already")
            about = {"webhook": name, "address": address_of(new.url), "format": new.format}
            await rights.record(transaction, Change("webhook.add", actor, project, about, origin))
            if paused:
                await _pause(transaction, await find(transaction, project, name), project, actor, origin)

        await self._database.write(work)

    async def change(self, project: str, name: str, changed: Callable[[Definition], Definition], *, actor: str) -> None:
        """Change what an endpoint is. It keeps how far it has come.

        Raises:
            RecordUnknown, ValueInvalid: as `add`.
            RecordInUse: it is in the settings, or its secrets can't be opened any more.
        """
        origin = audit.origin()

        async def work(transaction: Transaction) -> None:
            found = await find(transaction, project, name)
            _check_own(found)
            owner = owner_of(found.project_id, name)
            opened = None if found.sealed is None else self._vault.open(owner, found.sealed)
            if opened is None:
                raise RecordInUse(f"{name}: {NOT_OPENED}: remove it and make it anew")
            url, secrets = opened
            options = Options.of(json.loads(found.options))
            new = changed(Definition(url, format_of(found.format), options, secrets))
            self._check(new)
            await webhooks.change(
                transaction,
                found.id,
                is_file=False,
                address=address_of(new.url),
                format=new.format,
                options=written(new.options, new.secrets),
                sealed=self._vault.seal(owner, new.url, new.secrets),
            )
            about = {"webhook": name, "address": address_of(new.url), "format": new.format}
            await rights.record(transaction, Change("webhook.change", actor, project, about, origin))

        await self._database.write(work)

    async def remove(self, project: str, name: str, *, actor: str) -> None:
        """Remove an endpoint, and what is known of its deliveries. Raises RecordUnknown, RecordInUse as `change`."""
        origin = audit.origin()

        async def work(transaction: Transaction) -> None:
            found = await find(transaction, project, name)
            _check_own(found)
            await webhooks.remove(transaction, found.id)
            await rights.record(transaction, Change("webhook.remove", actor, project, {"webhook": name}, origin))

        await self._database.write(work, reserve=True)

    async def pause(self, project: str, name: str, *, actor: str) -> None:
        """Have an endpoint told nothing until it is resumed. It keeps how far it has come. Raises RecordUnknown."""
        origin = audit.origin()

        async def work(transaction: Transaction) -> None:
            await _pause(transaction, await find(transaction, project, name), project, actor, origin)

        await self._database.write(work, reserve=True)

    async def resume(self, project: str, name: str, *, actor: str) -> None:
        """Have an endpoint go on where it was. Raises RecordUnknown."""
        origin = audit.origin()

        async def work(transaction: Transaction) -> None:
            found = await find(transaction, project, name)
            if await webhooks.resume(transaction, found.id):
                await deliveries.let_all_be_due(transaction, found.id)
                await rights.record(transaction, Change("webhook.resume", actor, project, {"webhook": name}, origin))

        await self._database.write(work, reserve=True)

    async def replay(self, project: str, name: str, keys: Sequence[Key] | None, *, actor: str) -> int:
        """Have events sent again, and return how many.

        Args:
            keys: of deliveries that are over; None for all that were given up, a page of them in a transaction.

        Raises:
            RecordUnknown: there is no such endpoint.
        """
        if keys is not None:
            return await self._replay(project, name, keys, actor)
        count, after = 0, 0
        while True:
            found = await find(self._database, project, name)
            page = await deliveries.given_up(self._database, found.id, after=after, limit=_PAGE)
            if page:
                count += await self._replay(project, name, page, actor)
            if len(page) < _PAGE:
                return count
            after = page[-1].position

    async def _replay(self, project: str, name: str, keys: Sequence[Key], actor: str) -> int:
        origin = audit.origin()

        async def work(transaction: Transaction) -> int:
            found = await find(transaction, project, name)
            count = await deliveries.replay(transaction, found.id, keys)
            if count:
                await webhooks.touch(transaction, found.id)
                about = {"webhook": name, "deliveries": count}
                await rights.record(transaction, Change("webhook.replay", actor, project, about, origin))
            return count

        return await self._database.write(work)

    async def test(self, project: str, name: str, endpoints: Endpoints, *, public_url: str, actor: str) -> Sent:
        """Send a message that means nothing, at once, and return what came of it.

        Raises:
            RecordUnknown: there is no such endpoint.
            Unavailable: what is secret of it can't be opened.
        """
        found = await find(self._database, project, name)
        endpoint = endpoints.of(found)
        if endpoint is None:
            why = "it is not in the settings of the server that was asked" if found.is_file else NOT_OPENED
            raise Unavailable(f"webhook {name}: {why}")
        sent = await self._ping(endpoint, actor, public_url)
        change = Change("webhook.test", actor, project, {"webhook": name, "status": sent.status})
        await self._database.write(lambda tx: rights.record(tx, change))
        return sent

    async def _ping(self, endpoint: Endpoint, actor: str, public_url: str) -> Sent:
        epoch, position = await events.stream(self._database)
        at = await jobs.clock(self._database)
        repository = f"{endpoint.project}/{PING}" if endpoint.project else PING
        event = Event(0, position, epoch, at, PING, repository, actor)
        message = message_for(endpoint, event, public_url=public_url)
        assert message is not None  # noqa: S101 - every format has words for it
        sender = Sender(endpoint, self._networks)
        try:
            return await sender.send(f"{PING}-{epoch}-{at}", message)
        finally:
            await sender.close()

    def _check(self, new: Definition) -> None:
        """Return if an endpoint can be so. Raises ValueInvalid."""
        try:
            parts = checked_url(new.url, plain=bool(self._networks))
        except FetchRefused as error:
            hint = "" if self._networks else " (http:// takes delivery.networks)"
            raise ValueInvalid(f"url: {_without_path(error, new.url)}{hint}") from None
        if parts.fragment or " " in new.url:
            raise ValueInvalid("url: expected no fragment, and no spaces")
        _check_secrets(new.secrets)
        options = new.options
        if options.backoff > options.backoff_cap:
            raise ValueInvalid("expected the backoff to be at most its cap")
        if options.ca:
            try:
                ssl.create_default_context(cadata=options.ca)
            except (ssl.SSLError, ValueError, TypeError):  # the last for what is not ASCII
                raise ValueInvalid("ca: expected certificates in PEM") from None


async def find(reader: Reader, project: str, name: str) -> Webhook:
    """Return an endpoint. Raises RecordUnknown."""
    found = await webhooks.find(reader, await projects.owner_id(reader, project), name)
    if found is None:
        raise RecordUnknown(f"there is no webhook {name if name.isprintable() else repr(name)} there")
    return found


async def status(reader: Reader, webhook: Webhook) -> Status:
    """Return how an endpoint fares."""
    now = await jobs.clock(reader)
    counts = await deliveries.counts(reader, webhook.id)
    behind = (await events.stream(reader)).position - webhook.position
    first = await events.page(reader, after=webhook.position, limit=1) if behind > 0 else []
    return Status(
        counts.waiting,
        0.0 if counts.since is None else max(0, now - counts.since) / 1e6,
        counts.given_up,
        max(0, behind),
        max(0, now - first[0].at) / 1e6 if first else 0.0,
    )


async def _pause(transaction: Transaction, found: Webhook, project: str, actor: str, origin: Origin) -> None:
    if await webhooks.pause(transaction, found.id, f"by {actor}"):
        await rights.record(transaction, Change("webhook.pause", actor, project, {"webhook": found.name}, origin))


def _check_secrets(secrets: Secrets) -> None:
    try:
        if secrets.secret:
            signature.key_of(secrets.secret)
    except signature.SecretInvalid as error:
        raise ValueInvalid(f"secret: {error}") from None
    for name, value in secrets.headers.items():
        if (wrong := header_problem(name, value)) is not None:
            raise ValueInvalid(f"headers: {wrong}")
    for name, value in {"bearer": secrets.bearer, "basic": secrets.basic}.items():
        if not value.isprintable() or not value.isascii():
            raise ValueInvalid(f"{name}: expected printable ASCII")
    if secrets.bearer and secrets.basic:
        raise ValueInvalid("expected bearer or basic, not both")


def _check_own(found: Webhook) -> None:
    if found.is_file:
        raise RecordInUse(f"webhook {found.name} is in the settings: change it there")


def _without_path(error: FetchRefused, url: str) -> str:
    return str(error).replace(repr(url[:200]), "it")
