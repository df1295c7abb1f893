"""Settings of what is kept, for how long, and how it is looked after."""

from typing import Literal

from pydantic import Field

from registry.setting_types import Duration, DurationOrNone, Section, Size

Policy = Literal["keep", "collect"]


class CollectionSettings(Section):
    """`collection`: giving back the space of what nobody needs any more."""

    enabled: bool = Field(
        True, description="Whether the server collects by itself; `stowage gc --now` does either way."
    )
    interval: Duration = Field(3600, description="How long after a run the next one begins.")
    grace: DurationOrNone = Field(
        86400, description="What became needless stays for so long, for whoever is about to need it."
    )
    hold: Duration = Field(
        3600,
        description="What a client was told exists, uploaded or mounted stays at least so long, whatever the grace. "
        "Less than an hour is for tests only: pushes that take longer fail.",
    )
    untagged: Policy = Field(
        "keep", description="Whether manifests stay that no tag names, no index lists and that refer to no subject."
    )
    referrers: Policy = Field(
        "collect", description="Whether referrers stay when their subject is collected, where untagged manifests do."
    )
    rate: int = Field(
        500, ge=0, le=1_000_000, description="Most manifests and blobs removed a second; 0 is without limit."
    )


class HistorySettings(Section):
    """`history`: what can be had back."""

    window: DurationOrNone = Field(
        14 * 86400, description="How long what a tag was, and what was deleted, can be had back."
    )


class RetentionSettings(Section):
    """`retention`: tags that go without anybody deleting them."""

    enabled: bool = Field(
        True, description="Whether policies run by their schedules; `stowage retention run` does either way."
    )
    labels: bool = Field(
        True,
        description="Whether the label `quay.expires-after` of what is pushed gives its tags an end, and they go when "
        "they have come to it.",
    )


class ScrubSettings(Section):
    """`scrub`: reading what is stored, to find what is damaged before somebody needs it."""

    enabled: bool = Field(True, description="Whether the server scrubs by itself; `stowage scrub` does either way.")
    interval: Duration = Field(
        3600, description="How long after a run the next one begins. What is quarantined is looked at in each."
    )
    every: Duration = Field(30 * 86400, description="How long after a blob was found right it is read again.")
    rate: Size = Field(
        20 * 1024**2,
        le=1024**4,
        description="Most bytes read a second, by the server and by `stowage scrub`; a blob counts as 64 KiB at least. "
        "0 is without limit.",
    )


class QuotaSettings(Section):
    """`quotas`: what projects may hold, where `stowage quota` limits it."""

    counts: Literal["all", "visible", "tagged"] = Field(
        "visible",
        description="What counts against quotas that are set from now on: all that takes space, what was deleted and "
        "can be had back included; what is visible; of that, only what tags lead to.",
    )
