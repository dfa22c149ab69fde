"""Lists of versions and of live names, page by page, against a model."""

from collections.abc import Sequence

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from entrepot.catalog import listing
from entrepot.catalog.database import Catalog, Transaction
from entrepot.model import Bucket, CommonPrefix, StoredObject
from tests.contracts.versions import ENABLED, NOW, STATES, Model, apply, new_bucket

KEYS = st.text("ab/é\U0001f600", min_size=1, max_size=4)
SEQUENCES = st.lists(st.tuples(KEYS, st.sampled_from(["put", "put", "delete"])), max_size=16)
QUIET = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def fill(tx: Transaction, state: str, steps: Sequence[tuple[str, str]]) -> tuple[Bucket, Model]:
    """A bucket and its model after those steps."""
    bucket, model = new_bucket(tx, state), Model(state)
    for key, what in steps:
        apply(tx, bucket, model, (what, key, 7), NOW)
    return bucket, model


@QUIET
@given(
    st.sampled_from(STATES), SEQUENCES, st.text("ab/é", max_size=2), st.sampled_from(["", "/", "a", "//", "é"]),
    st.integers(1, 5), st.text("ab/é", max_size=3),
)  # fmt: skip
@example(ENABLED, [("a/b", "put"), ("a/c", "put"), ("b", "put")], "", "/", 5, "a/b")
async def test_walking_page_by_page_shows_every_version_once_in_order(
    catalog: Catalog, state: str, steps: Sequence[tuple[str, str]], prefix: str, delimiter: str, limit: int, start: str
) -> None:
    def run(tx: Transaction) -> None:
        bucket, model = fill(tx, state, steps)
        after: str | None = start
        number: int | None = None
        while after is not None:
            page = listing.version_page(tx, bucket, prefix, after, number, limit, delimiter, now=NOW)
            wanted = model.page(prefix, after, number, delimiter)
            assert [shown(item, latest) for item, latest in page.items] == wanted[:limit]
            assert (page.next is None) == (len(wanted) <= limit)
            after = page.next
            last = page.items[-1][0] if page.items else None
            number = last.version if isinstance(last, StoredObject) else None
            if after is not None and isinstance(last, StoredObject):
                assert page.next_version == (last.version_id or "null")
            elif after is not None:
                assert page.next_version == ""

    await catalog.write(run)


def shown(item: StoredObject | CommonPrefix, latest: bool) -> tuple[str, int | None, bool]:
    return (item.prefix, None, latest) if isinstance(item, CommonPrefix) else (item.key, item.version, latest)


@QUIET
@given(
    SEQUENCES, st.text("ab/é", max_size=2), st.sampled_from(["", "/", "a", "//"]), st.integers(1, 5),
    st.text("ab/é", max_size=4),
)  # fmt: skip
@example([("a/b", "put"), ("a/c", "put"), ("b", "put")], "", "/", 5, "a/b")
async def test_a_page_of_live_names_begins_behind_any_marker(
    catalog: Catalog, steps: Sequence[tuple[str, str]], prefix: str, delimiter: str, limit: int, after: str
) -> None:
    """A common prefix comes only if it sorts behind the marker, whatever it folds there."""

    def run(tx: Transaction) -> None:
        bucket, model = fill(tx, ENABLED, steps)
        live = Model(ENABLED, {key: model.of(key)[:1] for key in model.names if model.live(key)})
        page = listing.page(tx, bucket, prefix, after, limit, delimiter, now=NOW)
        wanted = [name for name, _, _ in live.page(prefix, after, None, delimiter)]
        assert [shown(item, True)[0] for item in page.items] == wanted[:limit]
        assert page.next == (wanted[limit - 1] if len(wanted) > limit else None)

    await catalog.write(run)
