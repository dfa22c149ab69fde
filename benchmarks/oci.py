"""OCI: images by skopeo, small ones, manifests, the end of an upload, tags and memory, against docker-registry."""

import shutil
from collections.abc import Iterator

from benchmarks import oci_bodies, oci_small, oci_tags, oci_uploads
from benchmarks.figures import Figure
from benchmarks.rounds import Bench


def measure(bench: Bench) -> Iterator[Figure]:
    """One after the other; what one left on the disk goes before the next begins."""
    for part in (oci_uploads, oci_tags, oci_small, oci_bodies):
        yield from part.measure(bench)
        for left in (*bench.disk.glob("oci-*"), *bench.memory.glob("oci-*")):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
