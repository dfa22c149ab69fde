"""XML as S3 has it: documents read strictly into plain trees, and written from nested tuples.

read(b"<Tagging><TagSet>…") -> Node("Tagging", children=…)        no DOCTYPE, no entities, namespaces dropped
document("ListBucketResult", ("Name", "b"), ("Contents", ("Key", "k")), …) -> bytes
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias
from xml.sax.saxutils import escape

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser, ParseError

from entrepot.protocols.s3.errors import malformed_xml

NAMESPACE: Final = "http://s3.amazonaws.com/doc/2006-03-01/"
DECLARATION: Final = '<?xml version="1.0" encoding="UTF-8"?>\n'
MAX_BYTES: Final = 4 << 20
MAX_DEPTH: Final = 64
MAX_ELEMENTS: Final = 100_000
_NO_XML: Final = re.compile("[^\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")
_SPECIAL: Final = re.compile("[&<>\r]|" + _NO_XML.pattern)

Item: TypeAlias = tuple[object, ...]
"""`(name, text)`, or `(name, item, item, …)`; None instead of an item is left out."""


class Written(str):
    """XML that is written already: of lists of a thousand, where tuples cost too much."""

    __slots__ = ()


@dataclass(slots=True)
class Node:
    """An element: its name without a namespace, its text, its children."""

    name: str
    text: str = ""
    children: list["Node"] = field(default_factory=list)

    def all(self, name: str) -> list["Node"]:
        """The children of that name."""
        return [child for child in self.children if child.name == name]

    def one(self, name: str) -> "Node":
        """The child of that name. Raises: S3Error if there is not exactly one."""
        found = self.all(name)
        if len(found) != 1:
            raise malformed_xml()
        return found[0]

    def text_of(self, name: str, default: str | None = None) -> str:
        """The text of the one child of that name, or `default`. Raises: S3Error."""
        found = self.all(name)
        if not found and default is not None:
            return default
        return self.one(name).text

    def only(self, *names: str) -> "Node":
        """Itself. Raises: S3Error if a child has another name."""
        if any(child.name not in names for child in self.children):
            raise malformed_xml()
        return self


class _Tree:
    """What the parser builds."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self._open: list[tuple[Node, list[str]]] = []
        self._count = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if len(self._open) >= MAX_DEPTH or self._count > MAX_ELEMENTS:
            raise malformed_xml("the document is too deep or too large")
        kind = next((value for name, value in attributes.items() if name.endswith("}type")), "")
        node = Node(tag.rpartition("}")[2])
        if kind:
            node.children.append(Node("xsi:type", kind))
        if self._open:
            self._open[-1][0].children.append(node)
        else:
            self.root = node
        self._open.append((node, []))

    def end(self, _tag: str) -> None:
        node, texts = self._open.pop()
        node.text = "".join(texts)
        if node.children and not node.text.strip():
            node.text = ""

    def data(self, text: str) -> None:
        if self._open:
            self._open[-1][1].append(text)

    def close(self) -> Node | None:
        return self.root


def read(data: bytes, name: str) -> Node:
    """The document, whose root is called `name`. Raises: S3Error MalformedXML."""
    tree = _Tree()
    try:
        parser = DefusedXMLParser(target=tree, forbid_dtd=True, encoding="utf-8")
        parser.feed(data.decode())
        parser.close()
    except (DefusedXmlException, ParseError, ValueError, LookupError) as error:
        raise malformed_xml() from error
    if tree.root is None or tree.root.name != name:
        raise malformed_xml()
    return tree.root


def document(name: str, *items: Item | str | None, namespace: str = NAMESPACE) -> bytes:
    """A whole document."""
    start = f'<{name} xmlns="{namespace}">' if namespace else f"<{name}>"
    return "".join([DECLARATION, start, *_written(items), f"</{name}>"]).encode()


def _written(items: Iterable[object]) -> Iterator[str]:
    for item in items:
        if item is None:
            continue
        if isinstance(item, str):
            yield item if isinstance(item, Written) else text(item)
            continue
        assert isinstance(item, tuple)
        name, *content = item
        plain = str(name).partition(" ")[0]
        if len(content) == 1 and not isinstance(content[0], tuple):
            yield f"<{name}/>" if content[0] in ("", None) else f"<{name}>{text(str(content[0]))}</{plain}>"
        else:
            yield f"<{name}>"
            yield from _written(content)
            yield f"</{plain}>"


def boolean(value: bool) -> str:
    """`true` or `false`."""
    return "true" if value else "false"


def text(value: str) -> str:
    """`value` as XML text; what XML 1.0 cannot hold, not even escaped, is a question mark."""
    if not _SPECIAL.search(value):
        return value
    return escape(_NO_XML.sub("?", value), {"\r": "&#13;"})
