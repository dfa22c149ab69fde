"""What the tests of faults share."""

from collections.abc import Iterator

import pytest

from tests.faults.zygote import Zygote


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """Starts servers in a tenth of a second."""
    made = Zygote()
    yield made
    made.close()
