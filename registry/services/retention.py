"""What keeps content from collection, and until when: the rules, without a database.

The roots are tags, locked digests, what tags named and what was deleted within the history window, untagged manifests
where the settings keep them, and what those refer to; beside them whatever was told to a client not long ago.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from registry.db.candidates import Candidate, Cause
from registry.db.garbage import LinkFacts, ManifestFacts, RepositoryFacts
from registry.retention_settings import Policy
from registry.settings import Settings

_S = 1_000_000
_LONGEST_REQUEST_S = 86400
"""A session is written to when a request ends. One that was abandoned keeps nothing for longer."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings say. Times in microseconds.

    Args:
        grace: how long what became needless is left alone, for whoever is about to need it.
        hold: how long content stays at least that a client was told is there.
        window: how long what a tag was, and what was deleted, can be had back.
        upload: how long an upload session that nobody writes to keeps what was pushed before it.
        untagged: whether manifests stay that no tag and no index names.
        referrers: whether manifests stay whose subject has gone, where untagged ones do.
    """

    grace: int
    hold: int
    window: int
    upload: int = 0
    untagged: Policy = "keep"
    referrers: Policy = "collect"


def rules_of(settings: Settings, *, grace_s: int | None = None, window_s: int | None = None) -> Rules:
    """Return what the settings say, with another grace or window for once."""
    collection = settings.collection
    return Rules(
        grace=(collection.grace if grace_s is None else grace_s) * _S,
        hold=collection.hold * _S,
        window=(settings.history.window if window_s is None else window_s) * _S,
        upload=min(settings.uploads.expire, _LONGEST_REQUEST_S) * _S,
        untagged=collection.untagged,
        referrers=collection.referrers,
    )


class Keeper(StrEnum):
    """What keeps something."""

    TAG = "a tag names it"
    INDEX = "an index lists it"
    LOCK = "it is locked"
    SUBJECT = "it refers to a manifest that is there"
    MANIFEST = "a manifest refers to it"
    CONTENT = "the repository has content"
    UPLOAD = "an upload is open whose image may need it"
    SETTING = "collection.untagged is keep"
    GRACE = "collection.grace"
    HOLD = "collection.hold"
    HISTORY = "history.window"


class Verdict(NamedTuple):
    """What keeps it, and the time in microseconds since the epoch at which that ends; None: not by itself."""

    keeper: Keeper
    until: int | None


def judge_manifest(candidate: Candidate, facts: ManifestFacts, rules: Rules) -> Verdict:
    """Judge a manifest."""
    if facts.tagged:
        return Verdict(Keeper.TAG, None)
    if facts.listed:
        return Verdict(Keeper.INDEX, None)
    if facts.locked:
        return Verdict(Keeper.LOCK, None)
    bounds = [Verdict(Keeper.GRACE, candidate.since + rules.grace)]
    if facts.named_until is not None:
        bounds.append(Verdict(Keeper.HISTORY, facts.named_until + rules.window))
    if facts.deleted_at is not None:
        bounds.append(Verdict(Keeper.HISTORY, facts.deleted_at + rules.window))
        return _latest(bounds)
    if facts.subject_there:
        return Verdict(Keeper.SUBJECT, None)
    orphaned = candidate.cause is Cause.SUBJECT_GONE and rules.referrers == "collect"
    if rules.untagged == "keep" and not orphaned:
        return Verdict(Keeper.SETTING, None)
    bounds.append(Verdict(Keeper.HOLD, candidate.since + rules.hold))
    return _latest(bounds)


def judge_link(candidate: Candidate, facts: LinkFacts, rules: Rules) -> Verdict:
    """Judge a blob in one repository."""
    if facts.referred:
        return Verdict(Keeper.MANIFEST, None)
    bounds = [Verdict(Keeper.GRACE, candidate.since + rules.grace)]
    if facts.deleted_at is not None:
        bounds.append(Verdict(Keeper.HISTORY, facts.deleted_at + rules.window))
        return _latest(bounds)
    if facts.uploading_at is not None:
        bounds.append(Verdict(Keeper.UPLOAD, facts.uploading_at + rules.upload))
    # It may have been pushed again while a manifest referred to it, later than it became needless. A hold begins with
    # twice what is promised.
    bounds.append(Verdict(Keeper.GRACE, facts.held_until - 2 * rules.hold + rules.grace))
    bounds.append(Verdict(Keeper.HOLD, facts.held_until))
    return _latest(bounds)


def judge_repository(candidate: Candidate, facts: RepositoryFacts, rules: Rules) -> Verdict:
    """Judge a repository's name."""
    if facts.used:
        return Verdict(Keeper.CONTENT, None)
    bounds = [Verdict(Keeper.GRACE, candidate.since + rules.grace)]
    if facts.ended_at is not None:
        bounds.append(Verdict(Keeper.HISTORY, facts.ended_at + rules.window))
    return _latest(bounds)


def _latest(bounds: list[Verdict]) -> Verdict:
    return max(bounds, key=lambda bound: bound.until or 0)
