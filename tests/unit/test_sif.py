"""SIF headers: what is read from them, and that nothing in them makes it fail."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.formats.sif import (
    MAX_DESCRIPTORS,
    MAX_TEXT,
    Descriptor,
    Partition,
    Sif,
    as_json,
    config_of,
    from_json,
    parse,
)
from tests import sifs
from tests.sifs import Thing, reader, sif_of, with_descriptor, with_header

WHOLE = sifs.sif(
    architecture="04",
    definition="Bootstrap: docker\nFrom: debian\n",
    labels={"maintainer": "ada", "höhe": "3 m"},
    signatures=2,
)
INT64 = st.integers(-(2**63), 2**63 - 1)


def parsed(data: bytes) -> Sif | None:
    return parse(reader(data), len(data))


def known(data: bytes) -> Sif:
    found = parsed(data)
    assert found is not None
    return found


def test_a_sif_says_what_it_holds() -> None:
    assert parsed(WHOLE) == Sif(
        architecture="arm64",
        created_at=sifs.CREATED_AT,
        partitions=(Partition("squashfs", "primary", "arm64", 4096),),
        labels={"maintainer": "ada", "höhe": "3 m"},
        definition="Bootstrap: docker\nFrom: debian\n",
        fingerprints=(sifs.fingerprint(0), sifs.fingerprint(1)),
        signed=True,
        encrypted=False,
        descriptors=(
            Descriptor("definition", 1, "", 31),
            Descriptor("json", 2, "inspect-metadata.json", 100),
            Descriptor("partition", 3, "", 4096),
            Descriptor("signature", 4, "", 6),
            Descriptor("signature", 5, "", 6),
        ),
    )


def test_an_empty_sif_is_one() -> None:
    assert known(sif_of([])) == Sif("unknown", sifs.CREATED_AT, (), {}, None, (), False, False, ())


def test_the_config_is_compact_with_its_keys_in_order() -> None:
    config = config_of("ab" * 32, known(sifs.sif(architecture="02")))
    expected = '{"architecture":"amd64","os":"linux","rootfs":"sha256:%s","signed":false,"encrypted":false}'
    assert config == (expected % ("ab" * 32)).encode()
    assert b'"signed":true,"encrypted":true' in config_of("0" * 64, known(sifs.sif(signatures=1, encrypted=True)))


def test_it_comes_back_from_json_text_as_it_was() -> None:
    assert from_json(json.loads(json.dumps(as_json(known(WHOLE))))) == known(WHOLE)


@pytest.mark.parametrize("script", [b"", b"#!/usr/bin/env run-singularity\n", b"\x1f\x8b\x08" + b"\xff" * 29])
def test_the_launch_script_decides_nothing(script: bytes) -> None:
    assert parsed(with_header(WHOLE, script=script)) == known(WHOLE)


@pytest.mark.parametrize(
    "fields",
    [
        {"magic": b"SIF_MAGICK"},
        {"version": b"02"},
        {"version": b"01 "},
        {"total": -1},
        {"total": 49},
        {"total": 2**62},
        {"length": 48 * 585 - 1},
        {"length": -1},
        {"offset": -1},
        {"offset": len(WHOLE) - 48 * 585 + 1},
        {"offset": 2**63 - 1},
    ],
)
def test_a_header_that_cannot_be_makes_it_a_plain_file(fields: dict[str, bytes | int]) -> None:
    assert parsed(with_header(WHOLE, **fields)) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"offset": -1},
        {"size": -1},
        {"offset": len(WHOLE) + 1, "size": 0},
        {"offset": len(WHOLE) - 5, "size": 6},
        {"offset": 2**63 - 1, "size": 2**63 - 1},
        {"offset": 1, "size": 2**63 - 1},
    ],
)
@pytest.mark.parametrize("row", [0, 4])
def test_a_range_outside_the_file_makes_it_a_plain_file(row: int, fields: dict[str, int]) -> None:
    assert parsed(with_descriptor(WHOLE, row, **fields)) is None
    assert parsed(with_descriptor(WHOLE, row, **fields, used=False)) is not None


def test_a_range_up_to_the_last_byte_is_inside() -> None:
    for size in (0, 6):
        changed = with_descriptor(WHOLE, 4, offset=len(WHOLE) - size, size=size)
        assert known(changed).descriptors[4].size == size


@pytest.mark.parametrize("size", [0, 41, 127, 128, sifs.TABLE_OFFSET, 32175, len(WHOLE) - 1])
def test_a_sif_cut_short_is_a_plain_file(size: int) -> None:
    assert parsed(WHOLE[:size]) is None


def test_a_file_that_gives_less_than_its_size_is_a_plain_file_or_has_no_texts() -> None:
    assert parse(reader(WHOLE[:100]), len(WHOLE)) is None
    assert parse(reader(WHOLE[:5000]), len(WHOLE)) is None
    without_texts = parse(reader(WHOLE[:32176]), len(WHOLE))
    assert without_texts is not None
    assert (without_texts.definition, without_texts.labels) == (None, {})


@pytest.mark.parametrize("created", [-62_135_596_800, -1, 253_402_300_800, 2**63 - 1])
def test_a_time_that_no_calendar_has_is_none(created: int) -> None:
    assert known(with_header(WHOLE, created=created)).created_at == 0


def test_numbers_without_a_word_are_unknown() -> None:
    things = [Thing(0), Thing(-1), Thing(0x400C), sifs.partition("14", file_system=7, kind=5)]
    found = known(sif_of(things, architecture="xx"))
    assert found.architecture == "unknown"
    assert [each.kind for each in found.descriptors] == ["unknown", "unknown", "unknown", "partition"]
    assert found.partitions == (Partition("unknown", "unknown", "unknown", 4096),)


def test_what_siftool_cannot_make_yet_has_its_words() -> None:
    things = [Thing(sifs.ROOT_INDEX), Thing(sifs.BLOB), sifs.partition("13", file_system=6, kind=1)]
    found = known(sif_of(things, architecture="13"))
    assert found.architecture == "loong64"
    assert [each.kind for each in found.descriptors] == ["oci-root-index", "oci-blob", "partition"]
    assert found.partitions == (Partition("gocryptfs", "system", "loong64", 4096),)


def test_only_an_encrypted_primary_partition_makes_it_encrypted() -> None:
    data = sifs.partition(file_system=5, kind=3)
    assert known(sif_of([sifs.partition(file_system=5)])).encrypted
    assert not known(sif_of([sifs.partition(), data])).encrypted
    assert not known(sif_of([data])).encrypted


def test_a_key_that_signed_twice_is_there_once_and_zeros_are_no_key() -> None:
    prints = [sifs.fingerprint(number) for number in (1, 0, 1)]
    found = known(sif_of([sifs.signature("00" * 20), *map(sifs.signature, prints)]))
    assert found.fingerprints == (prints[0], prints[1])
    nameless = known(sif_of([sifs.signature("00" * 20)]))
    assert (nameless.signed, nameless.fingerprints) == (True, ())


def test_the_first_definition_counts_and_need_not_be_utf8() -> None:
    found = known(sif_of([Thing(sifs.DEFINITION, b"caf\xe9 \0"), Thing(sifs.DEFINITION, b"second")]))
    assert found.definition == "caf� \0"
    assert known(sif_of([Thing(sifs.DEFINITION)])).definition == ""


def test_a_text_over_a_mebibyte_is_left_out() -> None:
    labels = json.dumps({"a": "x" * MAX_TEXT}).encode()
    texts = [Thing(sifs.DEFINITION, b"x" * (MAX_TEXT + 1)), Thing(sifs.LABELS, labels)]
    found = known(sif_of(texts))
    assert (found.definition, found.labels, len(found.descriptors)) == (None, {}, 2)
    assert known(sif_of([Thing(sifs.DEFINITION, b"x" * MAX_TEXT)])).definition == "x" * MAX_TEXT


def test_labels_come_from_both_places_and_those_of_apptainer_win() -> None:
    plain = Thing(sifs.LABELS, b'{"a": "plain", "b": "plain", "n": 1, "none": null}')
    found = known(sif_of([plain, sifs.metadata({"b": "apptainer", "c": "", "deep": {"d": "e"}})]))
    assert found.labels == {"a": "plain", "b": "apptainer", "c": ""}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff",
        b"{",
        b"[]",
        b"null",
        b'"labels"',
        b'{"data": []}',
        b'{"data": {"attributes": "labels"}}',
        b'{"data": {"attributes": {"labels": ["a"]}}}',
        b'{"data": {"attributes": {"labels": {"a": "b", "a": "c"}}}}',
        b'{"data": {"attributes": {"labels": {"a": "\\ud800"}}}}',
        b"[" * 5000,
        b"9" * 5000,
    ],
)
def test_labels_that_cannot_be_read_are_none(text: bytes) -> None:
    things = [Thing(sifs.JSON, text, "inspect-metadata.json"), Thing(sifs.LABELS, text)]
    assert known(sif_of(things)).labels == {}


def test_labels_in_a_json_of_another_name_are_none() -> None:
    labels = sifs.metadata({"a": "b"})
    assert known(sif_of([Thing(sifs.JSON, labels.data, "other.json"), Thing(sifs.JSON, labels.data)])).labels == {}


def test_a_name_may_fill_its_field_and_be_no_text() -> None:
    changed = with_descriptor(WHOLE, 2, name=b"\xff" + b"n" * 127)
    assert known(changed).descriptors[2].name == "�" + "n" * 127


def test_of_many_descriptors_the_first_are_read_and_little_else() -> None:
    things = [Thing(sifs.LABELS, b'{"a": "b"}')] * (MAX_DESCRIPTORS + 10)
    data = sif_of(things, slots=len(things))
    asked: list[int] = []

    def read(offset: int, length: int) -> bytes:
        asked.append(length)
        return data[offset : offset + length]

    found = parse(read, len(data))
    assert found is not None
    assert len(found.descriptors) == MAX_DESCRIPTORS
    assert asked == [128, MAX_DESCRIPTORS * 585, 10]


def holds(data: bytes, size: int) -> None:
    """That reading those bytes ends well, and that nothing in what was found is larger than they are."""
    found = parse(reader(data), size)
    if found is None:
        return
    assert all(0 <= each.size <= size for each in found.descriptors)
    assert len(found.definition or "") <= MAX_TEXT
    assert from_json(json.loads(json.dumps(as_json(found)))) == found
    json.loads(config_of("0" * 64, found))


@given(st.binary(max_size=300), st.integers(0, 2**63 - 1))
def test_no_bytes_make_it_fail(data: bytes, size: int) -> None:
    holds(data, size)
    holds(bytes(32) + b"SIF_MAGIC\x0001\0" + data, size)


places = st.integers(0, 127) | st.integers(4096, 4096 + 6 * 585) | st.integers(32176, len(WHOLE) - 1)


@given(st.lists(st.tuples(places, st.binary(min_size=1, max_size=8)), max_size=8), st.integers(-3, 3))
def test_no_change_of_a_sif_makes_it_fail(changes: list[tuple[int, bytes]], more: int) -> None:
    data = bytearray(WHOLE)
    for place, new in changes:
        data[place : place + len(new)] = new
    holds(bytes(data), len(data) + more)


@given(st.lists(INT64, min_size=4, max_size=4), st.lists(INT64, min_size=2, max_size=2), st.integers(0, 5))
def test_no_numbers_make_it_fail(header: list[int], place: list[int], row: int) -> None:
    created, total, offset, length = header
    holds(with_header(WHOLE, created=created, total=total, offset=offset, length=length), len(WHOLE))
    holds(with_descriptor(WHOLE, row, offset=place[0], size=place[1], used=True), len(WHOLE))
