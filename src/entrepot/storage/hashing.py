"""SHA-256 that can be saved and taken up again, and the other checksums beside it.

OpenSSL's SHA256 context is 112 bytes that can be copied out and back (`SHA256_Init/Update/Final`, deprecated and still
there in 3.x and 4.0), as fast as hashlib. The state is saved with the name of this format, the byte order and the
library's version; any other tag, or no such library, means: read the bytes again.
"""

import ctypes
import ctypes.util
import hashlib
import ssl
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, Final, Protocol

from entrepot.model import Algorithm, Piece

_CONTEXT_BYTES: Final = 112
_TAG: Final = f"openssl-sha256/1 {sys.byteorder} {ssl.OPENSSL_VERSION_NUMBER:x}\n".encode()


class Hash(Protocol):
    """What every hash here can do."""

    def update(self, piece: Piece, /) -> None:
        """Take in the next bytes."""

    def hexdigest(self) -> str:
        """The checksum of all so far, in lower-case hex; more may follow."""
        ...


class Sha256:
    """A running SHA-256 whose state can be saved; without a fitting OpenSSL `state()` is None."""

    __slots__ = ("_context", "_library", "_plain")

    def __init__(self, state: bytes | None = None) -> None:
        """Raises: ValueError if `state` cannot be taken up here."""
        self._library = _library()
        self._plain = None if self._library else hashlib.sha256()
        self._context = ctypes.create_string_buffer(_CONTEXT_BYTES)
        if state is None:
            if self._library:
                self._library.SHA256_Init(self._context)
        elif not self._library or not state.startswith(_TAG) or len(state) != len(_TAG) + _CONTEXT_BYTES:
            raise ValueError("a hash state of another library")
        else:
            self._context.raw = state[len(_TAG) :]

    def update(self, piece: Piece) -> None:
        """Take in the next bytes."""
        if self._plain:
            self._plain.update(piece)
            return
        buffer = piece if isinstance(piece, bytes) else _pointer(piece)
        assert self._library
        self._library.SHA256_Update(self._context, buffer, len(piece))

    def hexdigest(self) -> str:
        """The checksum of all so far."""
        if self._plain:
            return self._plain.hexdigest()
        assert self._library
        copy = ctypes.create_string_buffer(self._context.raw, _CONTEXT_BYTES)
        result = ctypes.create_string_buffer(32)
        self._library.SHA256_Final(result, copy)
        return result.raw.hex()

    def state(self) -> bytes | None:
        """What another `Sha256` can go on from."""
        return None if self._plain else _TAG + self._context.raw


def _pointer(piece: bytearray | memoryview) -> Any:
    if memoryview(piece).readonly:
        return bytes(piece)
    return (ctypes.c_char * len(piece)).from_buffer(piece)


@cache
def _library() -> Any:
    """The libcrypto hashlib uses, if its context behaves; else None."""
    try:
        library = ctypes.CDLL(_hashlib_libcrypto())
        library.SHA256_Init.argtypes = [ctypes.c_void_p]
        library.SHA256_Update.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
        library.SHA256_Final.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    except (OSError, AttributeError):
        return None
    return library if _resumes(library) else None


def _hashlib_libcrypto() -> str:
    try:
        with open("/proc/self/maps") as maps:
            for line in maps:
                if "libcrypto" in line:
                    return line.split(maxsplit=5)[5].strip()
    except OSError:
        pass
    return ctypes.util.find_library("crypto") or "libcrypto.so.3"


def _resumes(library: Any) -> bool:
    """Whether a known vector, cut in two with the context carried over as bytes, comes out right."""
    text, first = b"entrepot" * 40, ctypes.create_string_buffer(_CONTEXT_BYTES + 64)
    library.SHA256_Init(first)
    library.SHA256_Update(first, text[:101], 101)
    second = ctypes.create_string_buffer(first.raw[:_CONTEXT_BYTES], _CONTEXT_BYTES + 64)
    library.SHA256_Update(second, text[101:], len(text) - 101)
    result = ctypes.create_string_buffer(32)
    library.SHA256_Final(result, second)
    return result.raw == hashlib.sha256(text).digest()


class Crc:
    """A running CRC; its hex is big-endian, as S3 has it in base64. By awscrt, loaded at the first one."""

    __slots__ = ("_crc", "_value", "_width")

    def __init__(self, algorithm: Algorithm) -> None:
        self._crc: Callable[[Piece, int], int] = getattr(checksums_library(), algorithm.value)
        self._value, self._width = 0, algorithm.hex_length

    def update(self, piece: Piece) -> None:
        """Take in the next bytes."""
        self._value = self._crc(piece, self._value)

    def hexdigest(self) -> str:
        """The CRC of all so far."""
        return f"{self._value:0{self._width}x}"


CRCS: Final = frozenset({Algorithm.CRC32, Algorithm.CRC32C, Algorithm.CRC64NVME})


@cache
def checksums_library() -> Any:
    """The CRCs of awscrt."""
    from awscrt import checksums

    return checksums


def combined(algorithm: Algorithm, parts: Iterable[tuple[str, int]]) -> str:
    """The CRC in hex of parts one behind the other, from the CRC in hex and the length of each; no byte is read."""
    combine: Callable[[int, int, int], int] = getattr(checksums_library(), f"combine_{algorithm.value}")
    whole = 0
    for crc, length in parts:
        whole = combine(whole, int(crc, 16), length)
    return f"{whole:0{algorithm.hex_length}x}"


def new_hash(algorithm: Algorithm) -> Hash:
    """A running hash of that kind."""
    return Crc(algorithm) if algorithm in CRCS else hashlib.new(algorithm.value, usedforsecurity=False)


class Checksums:
    """SHA-256 and whatever else was asked for, in one pass."""

    __slots__ = ("_others", "sha256")

    def __init__(self, want: Iterable[Algorithm] = (), sha256: Sha256 | None = None) -> None:
        self.sha256 = sha256 or Sha256()
        self._others: dict[Algorithm, Hash] = {
            algorithm: new_hash(algorithm) for algorithm in want if algorithm is not Algorithm.SHA256
        }

    def update(self, piece: Piece) -> None:
        """Take in the next bytes."""
        self.sha256.update(piece)
        for running in self._others.values():
            running.update(piece)

    def result(self) -> Mapping[Algorithm, str]:
        """All of them, in hex."""
        running: dict[Algorithm, Hash] = {Algorithm.SHA256: self.sha256, **self._others}
        return {algorithm: one.hexdigest() for algorithm, one in running.items()}


def checksums_of(data: bytes, want: Iterable[Algorithm] = ()) -> Mapping[Algorithm, str]:
    """The checksums of bytes in memory."""
    found = {algorithm: new_hash(algorithm) for algorithm in {Algorithm.SHA256, *want}}
    for running in found.values():
        running.update(data)
    return {algorithm: running.hexdigest() for algorithm, running in found.items()}
