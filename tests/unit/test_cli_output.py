"""What is printed, for people, for pipes and for programs."""

import io
import json

import pytest
from hypothesis import given
from hypothesis.strategies import text

from entrepot.cli import reports
from entrepot.cli.bars import Lines, eta_seconds
from entrepot.cli.output import Output, Row, Style
from entrepot.cli.reports import PushReport, Quota
from entrepot.cli.wording import escaped, seconds_of, size_of
from entrepot.client.progress import Progress
from entrepot.errors import UsageError

REPORT = PushReport(1, "object:files/x", "sha256:0", 5, 5, 0, 0.1, "t", {"http": "u"}, Quota(1))


def printed(style: Style, *rows: Row) -> str:
    stream = io.StringIO()
    with Output(style, stream) as output:
        output.header("name", "size")
        for row in rows:
            output.add(row)
        assert stream.getvalue() == ""
        output.flush()
    return stream.getvalue()


def test_nothing_is_printed_before_the_command_has_succeeded() -> None:
    stream = io.StringIO()
    with Output(Style.PLAIN, stream) as output:
        output.add(Row(("a",), {}))
    assert stream.getvalue() == ""


def test_a_pipe_gets_full_values_and_tabs() -> None:
    assert printed(Style.PLAIN, Row(("a\tb\nc", "1"), {}, ("short", "1"))) == "a\\tb\\nc\t1\n"


def test_a_terminal_gets_a_table() -> None:
    rows = Row(("aaaa", "1"), {}, ("a", "1 KiB")), Row(("b", "2"), {}, ("bbbbbb", "2"))
    assert printed(Style.TERMINAL, *rows) == "NAME    SIZE\na       1 KiB\nbbbbbb  2\n"


def test_a_program_gets_one_object_a_line() -> None:
    lines = printed(Style.JSON, Row(("x",), REPORT), Row(("y",), REPORT)).splitlines()
    assert [json.loads(line)["schema"] for line in lines] == [1, 1]
    assert list(json.loads(lines[0])) == [
        "schema", "ref", "digest", "size", "sent", "saved", "seconds", "type", "urls", "quota",
    ]  # fmt: skip


@given(text())
def test_no_name_can_break_a_line_or_move_the_cursor(name: str) -> None:
    line = printed(Style.PLAIN, Row((name,), {}))
    assert line.count("\n") == 1
    assert line.endswith("\n")
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in line[:-1])
    assert escaped(name).isprintable() or " " in name or any(char.isspace() for char in name)


@pytest.mark.parametrize(("words", "size"), [("42", 42), ("10M", 10 * 2**20), ("1.5GiB", 3 * 2**29), ("2k", 2048)])
def test_sizes_are_read_as_they_are_written(words: str, size: int) -> None:
    assert size_of(words, "--x") == size


@pytest.mark.parametrize("words", ["", "x", "10X", "-1", "1 0", "9" * 400, "9" * 5000])
def test_what_is_no_size_or_time_names_the_flag(words: str) -> None:
    with pytest.raises(UsageError, match="--x"):
        size_of(words, "--x")
    with pytest.raises(UsageError, match="--x"):
        seconds_of(words, "--x")


def test_a_pipe_gets_a_line_at_the_start_and_one_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines(lambda progress, _: f"{progress.done}", 3600)
    for done in range(100):
        lines(Progress("upload", done, 99))
    lines.end()
    lines.end()
    assert capsys.readouterr().err == "0\n99\n"


def test_the_rest_is_foretold_from_what_moved_not_from_what_was_there() -> None:
    assert eta_seconds(Progress("upload", 60, 100, saved=20), 4.0) == 4
    assert eta_seconds(Progress("upload", 20, 100, saved=20), 4.0) is None
    assert eta_seconds(Progress("upload", 20, None), 4.0) is None


def test_every_report_names_its_fields_once() -> None:
    shapes = [value for value in vars(reports).values() if isinstance(value, type)]
    assert all(shape.__doc__ for shape in shapes)
