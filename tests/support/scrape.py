"""What `/metrics` tells, read with Prometheus' own parser."""

from collections.abc import Mapping

import httpx
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families


class Scrape:
    """One answer of `/metrics`."""

    def __init__(self, text: str) -> None:
        self.families: Mapping[str, Metric] = {one.name: one for one in text_string_to_metric_families(text)}

    @classmethod
    def of(cls, url: str, **headers: str) -> "Scrape":
        """Ask a server, on a connection of its own."""
        answer = httpx.get(f"{url}/metrics", headers=headers, trust_env=False, timeout=60)
        assert answer.status_code == 200, answer.text
        return cls(answer.text)

    def value(self, name: str, /, **labels: str) -> float:
        """The sum of all samples of this name, `stowage_` left out, that have these labels; 0 if there are none."""
        return sum(
            sample.value
            for family in self.families.values()
            for sample in family.samples
            if sample.name == f"stowage_{name}" and labels.items() <= sample.labels.items()
        )

    def labels(self, name: str, label: str) -> set[str]:
        """Every value that a label has in the samples of this name."""
        return {
            sample.labels[label]
            for family in self.families.values()
            for sample in family.samples
            if sample.name == f"stowage_{name}"
        }
