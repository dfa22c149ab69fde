"""How often somebody may do something."""

import pytest

from entrepot.errors import TooOften
from entrepot.services import rates
from entrepot.services.rates import Rate, site


class Ticks:
    at = 100.0

    def __call__(self) -> float:
        return self.at


def refused_seconds(rate: Rate, key: str) -> int:
    with pytest.raises(TooOften) as refused:
        rate.check(key)
    return refused.value.retry_after_seconds


def test_one_more_than_the_limit_is_refused_until_the_first_is_old() -> None:
    ticks = Ticks()
    rate = Rate(2, 10, "tries", clock=ticks)
    for _ in range(2):
        rate.check("bob")
        rate.count("bob")
        ticks.at += 1
    assert refused_seconds(rate, "bob") == 8
    rate.check("ann")
    ticks.at += 8
    rate.check("bob")
    rate.count("bob")
    assert refused_seconds(rate, "bob") == 1
    ticks.at += 1
    rate.check("bob")


def test_what_is_older_than_the_window_does_not_count() -> None:
    ticks = Ticks()
    rate = Rate(3, 10, "tries", clock=ticks, longest_pause_seconds=30)
    for _ in range(20):
        rate.check("bob")
        rate.count("bob")
        ticks.at += 5


def test_who_reaches_the_limit_again_waits_twice_as_long_up_to_the_longest() -> None:
    ticks = Ticks()
    rate = Rate(2, 10, "tries", clock=ticks, longest_pause_seconds=35)
    for pause in (10, 20, 35, 35):
        for _ in range(2):
            rate.check("bob")
            rate.count("bob")
        assert refused_seconds(rate, "bob") == pause
        ticks.at += pause - 0.5
        assert refused_seconds(rate, "bob") == 1, "being refused makes it no longer"
        rate.check("ann")
        ticks.at += 0.5
    rate.forget("bob")
    for _ in range(2):
        rate.count("bob")
    assert refused_seconds(rate, "bob") == 10


def test_forgetting_begins_anew() -> None:
    rate = Rate(1, 10, "tries")
    rate.count("bob")
    assert refused_seconds(rate, "bob") == 10
    rate.forget("bob")
    rate.check("bob")


def test_quiet_keys_are_forgotten_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MAX_KEYS", 3)
    rate = Rate(1, 10, "tries")
    for name in ("a", "b", "c", "d"):
        rate.count(name)
    rate.check("a")
    with pytest.raises(TooOften):
        rate.check("d")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:c000:0201", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:0DB8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", ""),
        ("nonsense", "nonsense"),
    ],
)
def test_of_ipv6_a_64_counts_as_one_and_ipv4_in_it_as_ipv4(address: str, expected: str) -> None:
    assert site(address) == expected
