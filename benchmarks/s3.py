"""S3: large bodies, small objects, lists, multipart uploads and copies, against SeaweedFS and `rclone serve s3`."""

import shutil
from collections.abc import Iterator

from benchmarks import s3_bodies, s3_listing, s3_parts, s3_small
from benchmarks.figures import Figure
from benchmarks.rounds import Bench


def measure(bench: Bench) -> Iterator[Figure]:
    """One after the other; what one left on the disk goes before the next begins."""
    for part in (s3_parts, s3_listing, s3_small, s3_bodies):
        yield from part.measure(bench)
        for left in (*bench.disk.glob("s3-*"), *bench.memory.glob("s3-*")):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
