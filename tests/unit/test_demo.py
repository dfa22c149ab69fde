"""The demo: its image is what it says, and all of it holds."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from demo.image import DEFINITION, JSON_TEXT, PARTITION, Part, read_parts, write_sif
from tests.conftest import needs

ROOT = Path(__file__).parents[2]


def test_a_sif_file_holds_its_parts_each_on_a_page_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "squashfs").write_bytes(b"hsqs" * 5000)
    parts = [
        Part(DEFINITION, "Singularity", b"", b"Bootstrap: scratch\n"),
        Part(JSON_TEXT, "inspect-metadata.json", b"", b"{}"),
        Part(PARTITION, "rootfs", b"\1\0\0\0\2\0\0\00002\0", tmp_path / "squashfs"),
    ]
    write_sif(parts, tmp_path / "a.sif")
    found = read_parts(tmp_path / "a.sif")
    assert [(kind, size, name) for kind, _, size, name in found] == [
        (DEFINITION, 19, "Singularity"), (JSON_TEXT, 2, "inspect-metadata.json"), (PARTITION, 20000, "rootfs"),
    ]  # fmt: skip
    data = (tmp_path / "a.sif").read_bytes()
    assert data[32:42] == b"SIF_MAGIC\0"
    for part, (_, offset, size, _) in zip(parts, found, strict=True):
        assert offset % 4096 == 0
        content = part.content if isinstance(part.content, bytes) else part.content.read_bytes()
        assert data[offset : offset + size] == content


def test_what_is_no_sif_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(8192))
    with pytest.raises(ValueError, match="not a SIF file"):
        read_parts(tmp_path / "a")


@pytest.mark.slow
def test_every_step_of_the_demo_holds_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("mksquashfs", "squashfs-tools")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    command = [sys.executable, str(ROOT / "demo" / "run.py"), "--mib", "16"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAIL" not in done.stdout
    time.sleep(0.1)
    assert list(tmp_path.iterdir()) == []
