"""How often somebody may do something."""

import pytest

from entrepot.errors import TooOften
from entrepot.services import rates
from entrepot.services.rates import Rate


class Time:
    at = 100.0

    def monotonic(self) -> float:
        return self.at


def test_one_more_than_the_limit_is_refused_until_the_first_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Time()
    monkeypatch.setattr(rates, "time", clock)
    rate = Rate(2, 10, "tries")
    for _ in range(2):
        rate.check("bob")
        rate.count("bob")
        clock.at += 1
    with pytest.raises(TooOften) as refused:
        rate.check("bob")
    assert refused.value.retry_after_seconds == 9
    rate.check("ann")
    clock.at += 8.5
    rate.check("bob")


def test_forgetting_begins_anew() -> None:
    rate = Rate(1, 10, "tries")
    rate.count("bob")
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
