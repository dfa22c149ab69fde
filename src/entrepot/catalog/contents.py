"""What the bytes of a digest are, where somebody has looked."""

from typing import Final

from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert

from entrepot.catalog.database import Query, Transaction, text_of, value_of
from entrepot.catalog.schema import blob, content
from entrepot.formats.content import Content, as_json, from_json
from entrepot.model import Digest

_FIND: Final = Query(select(content.c.type, content.c.facts).where(content.c.digest == bindparam("digest")))
_ADD: Final = Query(
    insert(content)
    .values({c.name: bindparam(c.name) for c in content.c})
    .on_conflict_do_nothing(index_elements=["digest"])
)
_FORGET: Final = Query(
    delete(content).where(content.c.digest.in_(select(blob.c.digest).where(blob.c.key == bindparam("key"))))
)


def find(tx: Transaction, digest: Digest) -> Content | None:
    """What they are; None if nobody has looked."""
    row = tx.row(_FIND, digest=digest.hex)
    return from_json(row[0], value_of(row[1])) if row else None


def learn(tx: Transaction, digest: Digest, found: Content) -> None:
    """Somebody has looked."""
    tx.run(_ADD, digest=digest.hex, type=found.media_type, facts=text_of(as_json(found)))


def forget(tx: Transaction, key: str) -> None:
    """The bytes under that key are going; if others are equal, somebody looks again."""
    tx.run(_FORGET, key=key)
