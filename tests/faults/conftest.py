"""What the tests of faults share."""

from collections.abc import Iterator

import pytest

from tests.faults.objects import check_log, front_server
from tests.faults.zygote import Zygote
from tests.running import RunningServer


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """Starts servers in a tenth of a second."""
    made = Zygote()
    yield made
    made.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server for a file of tests; what they do to it leaves no token and no fault of ours in its log."""
    with front_server(tmp_path_factory.mktemp("front") / "data") as running:
        yield running
        check_log(running)
