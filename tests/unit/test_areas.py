"""Names as PROMINENCE has them: what can be one, whose it is, and the key segment each area gets."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from entrepot.catalog import projects
from entrepot.catalog.database import Transaction
from entrepot.catalog.sqlite import DIALECT, connect
from entrepot.catalog.upgrade import upgrade
from entrepot.errors import BadName, Denied
from entrepot.principals import Area, AreaKind, Kind, Principal
from entrepot.services.areas import check_name, check_output, check_place, group_of

SEGMENTS = st.sampled_from(["vo", "vo2", "v", "sub", "x", "", ".", "..", "dir", "VO"])
PATHS = st.lists(SEGMENTS, min_size=1, max_size=5).map("/".join)
GROUP = st.lists(st.sampled_from(["vo", "vo2", "sub", "x"]), min_size=1, max_size=3).map("/".join)
GROUPS = st.lists(GROUP, max_size=3)


def principal(*groups: str, job: str | None = None) -> Principal:
    return Principal(1, Kind.USER, "bob", groups=groups, job=job)


@pytest.mark.parametrize("name", ["x", "a b", "x" * 1000, "é" * 500, "100%", "%4", "%zz", "a\\b", "\u0085", ".", "/"])
def test_these_can_be_names(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    "name", ["", "x" * 1001, "é" * 501, "#", "a?b", "%41", "a%fFb", "\x00", "\x1f", "\x7f", "a\n", "\ud800"]
)
def test_these_cannot_be_names(name: str) -> None:
    with pytest.raises(BadName):
        check_name(name)


@given(st.text(max_size=1100))
@example("x" * 1001)
def test_a_name_is_taken_or_refused_as_the_rule_says(name: str) -> None:
    """The rule once more, letter by letter."""
    hexadecimal = "0123456789abcdefABCDEF"
    quoted = any(
        name[at] == "%" and len(pair := name[at + 1 : at + 3]) == 2 and all(letter in hexadecimal for letter in pair)
        for at in range(len(name))
    )
    encodable = not any("\ud800" <= letter <= "\udfff" for letter in name)
    good = encodable and 1 <= len(name.encode()) <= 1000 and not quoted
    good = good and not any(letter in "#?" or ord(letter) < 32 or ord(letter) == 127 for letter in name)
    if good:
        check_name(name)
    else:
        with pytest.raises(BadName):
            check_name(name)


@pytest.mark.parametrize("name", ["vo/x", "vo/sub/x", "vo/sub/deep/x", "plain", "..."])
def test_a_group_opens_its_folder(name: str) -> None:
    check_place(principal("vo"), name)


@pytest.mark.parametrize(
    "name", ["vo2/x", "v/x", "vo/../x", "/vo/x", "dir/vo/dir/x", "vo/", "vo//x", "vo/./x", "VO/x", "/", "x/", "../x"]
)
def test_a_group_opens_nothing_else(name: str) -> None:
    with pytest.raises(Denied):
        check_place(principal("vo"), name)


@given(GROUPS, PATHS)
def test_the_longest_group_that_is_a_prefix_by_whole_segments_is_found(groups: list[str], path: str) -> None:
    parts = path.split("/")
    fitting = [group for group in groups if parts[: group.count("/") + 1] == group.split("/")]
    assert group_of(principal(*groups), path) == max(fitting, key=lambda group: group.count("/"), default=None)


@given(GROUPS, PATHS)
def test_a_place_is_allowed_as_the_rule_says(groups: list[str], name: str) -> None:
    parts = name.split("/")
    odd = bool({"", ".", ".."} & set(parts))
    in_group = any(parts[:-1][: group.count("/") + 1] == group.split("/") for group in groups)
    expected = (BadName if odd else None) if len(parts) == 1 else (None if in_group and not odd else Denied)
    if expected is None:
        check_place(principal(*groups), name)
    else:
        with pytest.raises(expected):
            check_place(principal(*groups), name)


def test_an_output_lies_below_its_job() -> None:
    assert check_output(principal(job="12.0"), "a/b c") == "scratch/12.0/a/b c"
    for name in ("", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a#b"):
        with pytest.raises(BadName):
            check_output(principal(job="12.0"), name)
    for job in (None, "", ".", "..", "a/b", "a b", "é", "x" * 129, "1\n"):
        with pytest.raises(BadName):
            check_output(principal(job=job), "a")


@given(st.text(max_size=10), st.text(max_size=10))
def test_no_output_leaves_the_folder_of_its_job(job: str, name: str) -> None:
    with suppress(BadName):
        key = check_output(principal(job=job), name)
        assert key.split("/")[:2] == ["scratch", job]
        assert not {"", ".", ".."} & set(key.split("/"))


OWNERS = st.lists(
    st.builds(
        Area,
        st.sampled_from([AreaKind.USER, AreaKind.GROUP]),
        st.sampled_from(
            ["bob", "bob.user", "bob.group", "bob.user.user", "x" * 129, "y" * 128, "a/b", ".", "..", "", "a\nb", "é"]
        ),
    ),
    max_size=8,
)


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    """An empty catalog."""
    path = tmp_path_factory.mktemp("areas") / "catalog.db"
    upgrade(f"sqlite:///{path}")
    with closing(connect(str(path))) as opened:
        yield opened


@given(OWNERS)
def test_every_area_has_a_segment_of_its_own_for_ever(connection: sqlite3.Connection, owners: list[Area]) -> None:
    """Whoever comes first, in whatever order, and asked again."""
    tx = Transaction(connection, DIALECT)
    connection.execute("BEGIN")
    try:
        given_out = {owner: projects.claim_segment(tx, owner) for owner in owners}
        assert len(set(given_out.values())) == len(given_out)
        for owner, segment in given_out.items():
            assert projects.claim_segment(tx, owner) == projects.segment_of(tx, owner) == segment
            assert projects.area_of(tx, segment) == owner
            assert 0 < len(segment.encode()) <= 140
            assert "/" not in segment
            assert segment.isprintable()
            assert segment not in {".", ".."}
    finally:
        connection.execute("ROLLBACK")


def test_the_first_of_a_name_keeps_it_as_its_segment(connection: sqlite3.Connection) -> None:
    user, group = Area(AreaKind.USER, "bob"), Area(AreaKind.GROUP, "bob")
    for first, second in ((user, group), (group, user)):
        connection.execute("BEGIN")
        tx = Transaction(connection, DIALECT)
        assert projects.claim_segment(tx, first) == "bob"
        assert projects.claim_segment(tx, second) == f"bob.{second.kind.value}"
        connection.execute("ROLLBACK")
