"""`inspect`: everything known about one name."""

import click

from entrepot.cli.output import Row, Style
from entrepot.cli.session import Session, command
from entrepot.client import api
from entrepot.client.pull import Found, find
from entrepot.client.reference import BlobRef
from entrepot.errors import Unsupported
from entrepot.shapes import ObjectShape, SifShape


@command(
    "inspect",
    click.Argument(["ref"]),
    click.Option(["--raw", "part"], metavar="PART", help="manifest, sif or disk (in a later version)."),
    help="Show everything known about REF, object:[PROJECT:]BUCKET/KEY or sha256:HEX.",
)
def inspect(session: Session, ref: str, part: str | None) -> None:
    """One fact a line."""
    if part:
        raise Unsupported("--raw is not in this version yet")
    reference = session.reference(ref)
    with session.client() as client:
        if isinstance(reference, BlobRef):
            facts, shape = _blob_facts(client.run(find(reference)))
        else:
            found = client.run(api.inspect(reference))
            facts, shape = object_facts(found), found
    if session.output.style is Style.JSON:
        session.output.add(Row((), shape))
        return
    for name, value in facts:
        session.output.add(Row((name, value), shape))


def _blob_facts(found: Found) -> tuple[list[tuple[str, str]], object]:
    facts: dict[str, str | int] = {"ref": str(found.ref), "digest": found.digest, "size": found.size}
    return [(name, str(value)) for name, value in facts.items()], facts


def object_facts(one: ObjectShape) -> list[tuple[str, str]]:
    """The facts by name, in the order of the shape; what is not set is left out."""
    plain = {name: getattr(one, name) for name in ("ref", "project", "bucket", "key", "digest", "size", "type")}
    facts = [(name, str(value)) for name, value in plain.items()]
    facts += [(f"checksum.{name}", value) for name, value in sorted(one.checksums.items())]
    facts += [(f"label.{name}", value) for name, value in sorted(one.labels.items())]
    facts += [(name, value) for name, value in (("created", one.created), ("expires", one.expires)) if value]
    return facts + (sif_facts(one.sif) if one.sif else [("content", one.sniffed)] if one.sniffed else [])


def sif_facts(sif: SifShape) -> list[tuple[str, str]]:
    """What the header of a Singularity file says."""
    facts = [("sif.architecture", sif.architecture), ("sif.signed", "yes" if sif.signed else "no")]
    facts += [("sif.encrypted", "yes")] if sif.encrypted else []
    facts += [("sif.created", sif.created)] if sif.created else []
    facts += [("sif.fingerprint", one) for one in sif.fingerprints]
    facts += [(f"sif.partition.{one.kind}", f"{one.file_system} {one.size}") for one in sif.partitions]
    facts += [(f"sif.label.{name}", value) for name, value in sorted(sif.labels.items())]
    return facts + [("sif.definition", line) for line in (sif.definition or "").splitlines()]
