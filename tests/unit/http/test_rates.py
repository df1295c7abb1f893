"""How many requests one may make."""

import pytest

from auth.errors import TooManyAttempts
from auth.principal import ANONYMOUS, Principal
from registry.http.rates import Rates


def test_a_burst_is_let_through_and_then_no_more() -> None:
    rates = Rates(principal=0, address=60)
    for _ in range(10):
        rates.admit_address("192.0.2.1")
    with pytest.raises(TooManyAttempts) as refused:
        for _ in range(10):
            rates.admit_address("192.0.2.1")
    assert refused.value.retry_after == 1
    rates.admit_address("192.0.2.2")


def test_a_rate_below_one_in_a_burst_lets_one_through() -> None:
    rates = Rates(principal=1, address=0)
    rates.admit_principal(Principal("user:ann"))
    with pytest.raises(TooManyAttempts) as refused:
        rates.admit_principal(Principal("user:ann"))
    assert 50 < refused.value.retry_after <= 60
    rates.admit_principal(Principal("user:ben"))


def test_nobody_counts_by_address_alone_and_without_a_bound_nothing_does() -> None:
    rates = Rates(principal=1, address=0)
    for _ in range(100):
        rates.admit_principal(ANONYMOUS)
        rates.admit_address("192.0.2.1")
