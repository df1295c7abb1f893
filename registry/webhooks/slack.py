"""One line of text, as Slack's incoming webhooks take it, and Mattermost's, Rocket.Chat's and others'.

Source: https://api.slack.com/messaging/webhooks, and Slack's "Formatting text for app surfaces" for what is escaped.
"""

import json

from registry.event import (
    CREATE,
    DELETE,
    MOUNT,
    PULL,
    PURGE,
    PUSH,
    QUARANTINE,
    QUOTA,
    RECOVER,
    TAG,
    UNDELETE,
    UNTAG,
    Event,
)
from registry.webhooks.message import Message
from registry.webhooks.shown import name_of

_SHORT = 19
"""Characters of a digest that are enough for people: `sha256:` and twelve."""
_WORDS = {
    PUSH: "{who} pushed {what}{more}{beside}",
    PULL: "{who} pulled {what}{beside}",
    MOUNT: "{who} mounted {digest} from {source} in {repository}",
    DELETE: "{who} deleted {what}",
    TAG: "{who} moved {what} to {digest}{cause}",
    UNTAG: "{who} removed the tag {what}, which named {digest}{cause}",
    UNDELETE: "{who} brought {what} back",
    PURGE: "{who} removed {what} for good",
    CREATE: "{who} made the repository {what}",
    QUOTA: "a push to {what} brought its project to {quota}",
    QUARANTINE: "a blob of {what} is damaged and is served no more: {fault}",
    RECOVER: "a blob of {what} is whole again",
}
_OTHER = "{action} in {what}, by {who}{cause}"


def message(event: Event) -> Message | None:
    """Return an event as a line; None for one that another line tells of already."""
    if event.action == TAG and event.cause is None:  # the push of that tag tells of it
        return None
    return line(_said(event))


def line(text: str) -> Message:
    """Return a message with a text, in which `*` and backquotes are Slack's."""
    return Message(json.dumps({"text": text}).encode(), {"content-type": "application/json"})


def _said(event: Event) -> str:
    digest, quota = _digest(event.digest), event.quota
    more = f" and the tags {', '.join(event.tags[1:])}" if len(event.tags) > 1 else ""
    told = "" if quota is None else f"{quota.percent} % of the quota of {quota.what} ({quota.used} of {quota.limit})"
    return _WORDS.get(event.action, _OTHER).format(
        action=_escaped(event.action),
        who=f"*{_escaped(event.actor or 'somebody')}*",
        what=f"`{_escaped(name_of(event))}`",
        more=_escaped(more),
        digest=digest,
        beside=f" ({digest})" if event.tag and event.digest else "",
        source=f"`{_escaped(event.source or '')}`",
        repository=f"`{_escaped(event.repository)}`",
        cause=f", by {_escaped(event.cause)}" if event.cause else "",
        quota=_escaped(told),
        fault=_escaped(event.fault or "it is not whole"),
    )


def _digest(digest: str | None) -> str:
    return f"`{_escaped(digest[:_SHORT])}`" if digest else "nothing"


def _escaped(text: str) -> str:
    """Return a text in which nothing means anything to Slack, and that ends no code."""
    plain = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(letter if letter.isprintable() and letter not in "`*" else " " for letter in plain)
