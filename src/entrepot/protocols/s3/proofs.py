"""Who signed a request: header, URL or form, V4 or V2; and what was learnt on the way."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from entrepot.auth import sigv2, sigv4
from entrepot.auth.sigv2 import QueryProof, SignedRequest
from entrepot.errors import NotFound
from entrepot.model import ANONYMOUS, Action, Clock, Principal
from entrepot.protocols.base import Header, Request
from entrepot.protocols.s3 import calls, claims, heads, requests
from entrepot.protocols.s3.calls import AnyCall
from entrepot.services.identity import Identity

_WRITE: Final = frozenset({Action.CREATE, Action.OVERWRITE})
_READ: Final = frozenset({Action.GET})
_TAKES_CHUNKS: Final = (calls.PutObject, calls.UploadPart)


@dataclass(frozen=True, slots=True)
class Proven:
    """What a request's proof and headers say, beside who made it."""

    headers: dict[str, str]
    """By lower-case name; of `x-amz-*` also those that stand in the query."""
    proof: sigv4.Proof | QueryProof | None = None
    secret: str = field(default="", repr=False)
    word: str = ""
    """x-amz-content-sha256."""

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
        if proof is None or isinstance(call, calls.PostForm | calls.Preflight):
            request.memo = Proven(headers)
            return ANONYMOUS
        in_query = isinstance(proof, QueryProof) or proof.expires_seconds is not None
        key, secret = await self.key(proof.access_key, hidden_too=in_query)
        if request.method == "HEAD" and in_query:
            self._verify_head(proof, secret, signed, request)
        else:
            self._verify(proof, secret, signed, request)
        word = headers.get("x-amz-content-sha256", "")
        claims.check_word(word, in_query=in_query, takes_chunks=isinstance(call, _TAKES_CHUNKS))
        request.memo = Proven(headers, proof, secret, word)
        actions = _WRITE if isinstance(call, calls.PutObject) else _READ
        return self.identity.of_grant(key, actions, call.bucket, call.key)

    async def key(self, key_id: str, *, hidden_too: bool) -> tuple[Any, str]:
        """That key and its secret. Raises: WrongSignature for an unknown one."""
        try:
            key, secret = await self.identity.of_access_key(key_id)
        except NotFound:
            key, secret = None, "no such key"
        if key is None or (key.hidden and not hidden_too):
            raise sigv2.WrongSignature
        return key, secret

    def _verify(self, proof: sigv4.Proof | QueryProof, secret: str, signed: SignedRequest, request: Request) -> None:
        if isinstance(proof, QueryProof):
            sigv2.verify(proof, secret, signed, self.now(), requests.resource(request, self.hosts))
        else:
            sigv4.verify(proof, secret, signed, self.now())

    def _verify_head(
        self, proof: sigv4.Proof | QueryProof, secret: str, signed: SignedRequest, request: Request
    ) -> None:
        """A HEAD is as good as the GET its URL was signed for."""
        try:
            self._verify(proof, secret, replace(signed, method="GET"), request)
        except sigv2.WrongSignature:
            self._verify(proof, secret, signed, request)


def _is_bearer(header: Header) -> bool:
    return header[0] == b"authorization" and not header[1].startswith((b"AWS4", b"AWS "))
