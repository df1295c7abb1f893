"""When an endpoint is left alone."""

from registry.services.endpoint_health import FAILING, Health
from registry.webhooks.endpoint import Options


def test_one_that_asked_to_be_left_alone_is_though_it_took_something_meanwhile() -> None:
    """With several messages under way, one is refused, and others are taken that were on their way already."""
    health = Health(Options())
    health.rest(100)
    health.failed("team/a")
    health.succeeded()
    assert health.rest_s > 50


def test_one_that_takes_something_is_left_alone_no_longer() -> None:
    health = Health(Options(backoff=100))
    for number in range(FAILING):
        assert not health.is_down
        health.failed(f"team/{number}")
    assert health.is_down
    health.rest_longer()
    assert health.rest_s > 50
    health.succeeded()
    assert (health.is_down, health.rests, health.rest_s) == (False, 0, 0)
