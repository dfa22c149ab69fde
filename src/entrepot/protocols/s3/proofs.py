"""Who signed a request: header, URL or form, V4 or V2; and what was learnt on the way."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NoReturn, TypeVar

from entrepot.auth import sigv2, sigv4
from entrepot.auth.sigv2 import QueryProof, SignedRequest
from entrepot.catalog.accounts import AccessKey
from entrepot.errors import NotFound
from entrepot.model import Clock
from entrepot.principals import ANONYMOUS, Action, Principal
from entrepot.protocols.base import Header, Request
from entrepot.protocols.s3 import calls, claims, heads, requests
from entrepot.protocols.s3.calls import AnyCall
from entrepot.protocols.s3.chunked import Hop
from entrepot.protocols.s3.claims import Sent
from entrepot.services.identity import Identity

Verified = TypeVar("Verified")

_WRITE: Final = frozenset({Action.CREATE, Action.OVERWRITE})
_READ: Final = frozenset({Action.GET})
_TAKES_CHUNKS: Final = (calls.PutObject, calls.UploadPart)
_NOBODYS: Final = secrets.token_urlsafe(30)
"""The secret of keys there are not: their proofs are looked at as long as others, and are wrong."""


@dataclass(frozen=True, slots=True)
class Proven:
    """What a request's proof and headers say, beside who made it."""

    headers: dict[str, str]
    """By lower-case name; of `x-amz-*` also those that stand in the query. Content-Encoding is that of the object."""
    proof: sigv4.Proof | QueryProof | None = None
    secret: str = field(default="", repr=False)
    word: str = ""
    """x-amz-content-sha256."""
    canonical_request: bytes = field(default=b"", repr=False)
    """What was signed, if V4 was."""

    @property
    def signed(self) -> bool:
        """Whether there is a proof."""
        return self.proof is not None

    @property
    def in_query(self) -> bool:
        """Whether it stands in the URL."""
        return isinstance(self.proof, QueryProof) or (self.proof is not None and self.proof.expires_seconds is not None)

    @property
    def in_header(self) -> bool:
        """Whether it stands in a header: no browser sends those."""
        return self.proof is not None and not self.in_query

    def sent(self, request: Request, hop: Hop) -> Sent:
        """The body of a PUT and what is said of it. Raises: S3Error; LengthRequired."""
        signer = claims.signer_of(self.proof, self.secret, self.word, self.canonical_request)
        return claims.sent_by(request, self.headers, self.word, signer, hop, in_header=self.in_header)

    async def document(self, request: Request, *, with_checksum: bool = True) -> bytes:
        """A body that is a document, and the one that was signed and claimed. Raises: S3Error; BodyCut."""
        return await claims.document(request, self.headers, self.word, with_checksum=with_checksum)


@dataclass(frozen=True, slots=True)
class Proofs:
    """Checks proofs against the keys there are."""

    identity: Identity
    now: Clock
    hosts: Sequence[str] = ()

    async def identify(self, call: AnyCall, request: Request) -> Principal:
        """By the signature; without one it is anonymous. Bearer and X-Auth-Token beside it are ignored.

        What was learnt is in `request.memo`. Raises: WrongSignature; Denied; S3Error.
        """
        signed = SignedRequest(
            request.method, request.raw_path, request.raw_query, [h for h in request.headers if not _is_bearer(h)]
        )
        proof = sigv4.find_proof(signed)
        headers = heads.table_of(request, call.query)
        word = headers.get("x-amz-content-sha256", "")
        if proof is None or isinstance(call, calls.PostForm | calls.Preflight):
            request.memo = Proven(headers, word=word)
            return ANONYMOUS
        in_query = isinstance(proof, QueryProof) or proof.expires_seconds is not None
        verify = self._verify_head if request.method == "HEAD" and in_query else self._verify
        key, secret, canonical = await self.check(
            proof.access_key, lambda secret: verify(proof, secret, signed, request), hidden_too=in_query
        )
        claims.check_word(word, in_query=in_query, takes_chunks=isinstance(call, _TAKES_CHUNKS))
        if claims.is_packed(word, in_header=not in_query) and "content-encoding" in headers:
            headers["content-encoding"] = claims.plain_encoding(headers["content-encoding"])
        request.memo = Proven(headers, proof, secret, word, canonical)
        actions = _WRITE if isinstance(call, calls.PutObject) else _READ
        return self.identity.of_grant(key, actions, call.bucket, call.key)

    async def check(
        self, key_id: str, verify: Callable[[str], Verified], *, hidden_too: bool
    ) -> tuple[AccessKey, str, Verified]:
        """That key, its secret, and what `verify` makes of the secret; an unknown key is refused as a wrong secret is.

        Raises: WrongSignature, and what else `verify` raises.
        """
        try:
            key, secret = await self.identity.of_access_key(key_id)
        except NotFound:
            return self._refuse(verify)
        if key.hidden and not hidden_too:
            return self._refuse(verify)
        return key, secret, verify(secret)

    def _refuse(self, verify: Callable[[str], object]) -> NoReturn:
        verify(_NOBODYS)
        raise sigv2.WrongSignature

    def _verify(self, proof: sigv4.Proof | QueryProof, secret: str, signed: SignedRequest, request: Request) -> bytes:
        if isinstance(proof, QueryProof):
            sigv2.verify(proof, secret, signed, self.now(), requests.resource(request, self.hosts))
            return b""
        return sigv4.verify(proof, secret, signed, self.now())

    def _verify_head(
        self, proof: sigv4.Proof | QueryProof, secret: str, signed: SignedRequest, request: Request
    ) -> bytes:
        """A HEAD is as good as the GET its URL was signed for."""
        try:
            return self._verify(proof, secret, replace(signed, method="GET"), request)
        except sigv2.WrongSignature:
            return self._verify(proof, secret, signed, request)


def _is_bearer(header: Header) -> bool:
    return header[0] == b"authorization" and not header[1].startswith((b"AWS4", b"AWS "))
