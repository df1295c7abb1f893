"""Who gives up a place, and who is turned away."""

from registry.http.places import Places


class Visitor:
    """A connection that notes when it must go."""

    def __init__(self) -> None:
        self.told = 0

    def make_room(self) -> None:
        self.told += 1


def test_the_one_that_waited_longest_goes() -> None:
    places, first, second = Places(2), Visitor(), Visitor()
    places.wait(first)
    places.wait(second)
    assert places.take(2)
    assert first.told == 0
    places.leave(first)  # its request came
    places.wait(first)  # and was answered
    assert places.take(3)
    assert (first.told, second.told) == (0, 1)
    assert places.take(4)
    assert (first.told, second.told) == (1, 1)
    assert not places.take(5)


def test_who_is_turned_away_takes_no_place() -> None:
    places = Places(1)
    visitors = [Visitor() for _ in range(300)]
    told = [visitor for visitor in visitors if places.turn_away(visitor)]
    assert 0 < len(told) < 300
    assert places.take(1 + len(told))
    assert not places.take(2 + len(told))
    for visitor in told:
        places.forget(visitor)
    assert places.turn_away(visitors[-1])


def test_who_is_gone_or_waits_no_more_is_forgotten() -> None:
    places, gone, busy = Places(1), Visitor(), Visitor()
    places.wait(gone)
    places.forget(gone)
    places.wait(busy)
    places.leave(busy)
    assert not places.take(2)
    assert gone.told + busy.told == 0
