"""JSON lines on stderr, from lists of what may be said: no query values, no tokens, no paths of this machine."""

import logging
import re
import sys
from typing import Any, Final

import msgspec
import structlog

from entrepot.protocols.base import Request

_EXTRA: Final = ("request_id", "job", "marked", "removed", "objects", "trash", "rows", "uploads", "dark")
_UPLOAD_ID: Final = re.compile(r"(?<=/uploads/)([0-9a-f]{8})[0-9a-f]{24}")
_TOKEN: Final = re.compile(r"(?<=/)(ey[\w-]{6})[\w-]*\.[\w-]+\.[\w-]*")
_SHOWN: Final = ("user-agent", "range", "content-length")

_encode: Final = msgspec.json.Encoder().encode


def _to_json(event: Any, **_: Any) -> str:
    return _encode(event).decode()


def set_up(level: str = "INFO") -> None:
    """Send everything logged, ours and the libraries', to stderr as JSON."""
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(allow=_EXTRA),
        structlog.processors.format_exc_info,
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(serializer=_to_json),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "httpx2", "httpcore2"):
        logging.getLogger(name).handlers[:] = []
        logging.getLogger(name).setLevel("WARNING")


def _path(raw: bytes) -> str:
    text = raw[:1024].decode("latin-1")
    if "/uploads/" in text:
        text = _UPLOAD_ID.sub(r"\1…", text)
    return _TOKEN.sub(r"\1…", text) if "/ey" in text else text


def access_line(request: Request, protocol: str, status: int, sent: int, seconds: float, at: float) -> bytes:
    """One request: method, path with ids cut, names of query keys, and the few headers that tell clients apart."""
    line: dict[str, Any] = {
        "event": "request",
        "at": round(at, 3),
        "method": request.method,
        "path": _path(request.raw_path),
        "protocol": protocol,
        "status": status,
        "sent": sent,
        "seconds": round(seconds, 6),
        "request_id": request.id,
        "address": request.address,
    }
    if request.raw_query:
        line["query"] = [pair.partition(b"=")[0][:64].decode("latin-1") for pair in request.raw_query.split(b"&")[:32]]
    for name in _SHOWN:
        value = request.header(name.encode())
        if value is not None:
            line[name] = value[:256]
    return _encode(line) + b"\n"
