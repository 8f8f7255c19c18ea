"""A virtual drive server, spoken to over pinned HTTPS at whichever of its places answers.

A call that fails at one place is made at the next: all of them may be repeated. The place that answered last
is the first to be asked.

Source: docs/spec/vdrive.md, sections 4.3, 8 and 12 to 14.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import structlog

from holdfast.errors import HoldfastError, ServerError, WrongServerKeyError
from holdfast.formats.vdrive.head import SignedHead
from holdfast.grid.cbor_service import SILENCE_S, Refuse
from holdfast.grid.vdrive.service_place import ServicePlace
from holdfast.interfaces.vdrive import (
    PAGE_DEFAULT,
    WAIT_MAX_S,
    AccountState,
    Authority,
    Changes,
    CommitAnswer,
    CommitRequest,
    Committed,
    Context,
    DirectoryInfo,
    HeadRange,
    LeaseInfo,
    Page,
    Turn,
    VdriveVersion,
)
from holdfast.interfaces.vdrive_errors import VdriveUnauthorizedError
from holdfast.protocol import vdrive_calls as calls
from holdfast.protocol import vdrive_commit_messages as commit_messages
from holdfast.protocol import vdrive_headers as headers
from holdfast.protocol import vdrive_queries as queries
from holdfast.protocol import vdrive_reading_messages as reading_messages
from holdfast.protocol import vdrive_service_messages as service_messages
from holdfast.protocol.nurl import Nurl
from holdfast.protocol.vdrive_calls import Endpoint
from holdfast.protocol.vdrive_refusals import NO_SUCH_CHILD_STATUS, decode_absence, decode_refusal
from holdfast.wire.pinning import pinning_ssl_context

log = structlog.get_logger(__name__)

T = TypeVar("T")

SILENCE_IF_OTHERS_S = 5.0  # where there is another place to ask
TURN_WAIT_S = 17.0  # a server lets one wait in a line
_NOTHING = object()


class HttpVirtualDriveServer:
    """Implements ``interfaces.vdrive.VirtualDriveServer``. Close it after use.

    Every method raises what the server refuses (``VdriveRefusalError``), ServerError if no place of it can be
    used, WrongServerKeyError if the only one presents another TLS key.
    """

    def __init__(self, nurls: Sequence[Nurl], context: ssl.SSLContext | None = None) -> None:
        """``context`` is what ``pinning_ssl_context`` gives; several servers may share one."""
        self._context = context or pinning_ssl_context()
        self._places: list[ServicePlace] = []  # the one that answered last first
        self.use_places(nurls)

    def use_places(self, nurls: Sequence[Nurl]) -> None:
        """Use these places from now on. Those known before keep their connections."""
        known = {place.nurl: place for place in self._places}
        if known.keys() == set(nurls):
            return
        kept = [place for place in self._places if place.nurl in nurls]
        for nurl, place in known.items():
            if nurl not in nurls:
                place.close()
        new = [ServicePlace(nurl, self._context) for nurl in dict.fromkeys(nurls) if nurl not in known]
        self._places = [*(place for place in kept if place.good), *new, *(p for p in kept if not p.good)]

    def close(self) -> None:
        """End every connection at once."""
        for place in self._places:
            place.close()

    # -- the server as a whole

    async def version(self) -> VdriveVersion:
        return await self._call(calls.VERSION, service_messages.decode_version)

    async def public_root(self) -> str:
        return await self._call(calls.ROOT, service_messages.decode_root)

    async def account(self, token: str) -> AccountState:
        shown = [headers.account_header(token)]
        return await self._call(calls.ACCOUNT, service_messages.decode_account, shown=shown)

    # -- changing

    async def commit(self, request: CommitRequest, authority: Authority) -> CommitAnswer:
        return await self._call(
            calls.COMMIT,
            commit_messages.decode_commit_answer,
            body=commit_messages.encode_commit_request(request),
            shown=headers.authority_headers(authority),
        )

    async def turn(self, enablers: Mapping[bytes, bytes]) -> Turn:
        shown = [headers.enabler_header(index, enabler) for index, enabler in enablers.items()]
        return await self._call(
            calls.TURN,
            commit_messages.decode_turn_answer,
            index=next(iter(enablers)),
            shown=shown,
            wait_s=TURN_WAIT_S,
        )

    async def enrol(self, index: bytes, enabler: bytes, proof: bytes) -> None:
        await self._call(
            calls.ENROL,
            _nothing,
            index=index,
            body=commit_messages.encode_enrol_request(proof),
            shown=[headers.enabler_header(index, enabler)],
            empty=_NOTHING,
        )

    # -- reading

    async def describe(self, index: bytes) -> DirectoryInfo:
        return await self._call(calls.DESCRIBE, reading_messages.decode_directory, index=index)

    async def child(self, index: bytes, slot: bytes) -> Context:
        decode = partial(reading_messages.decode_child, index=index)
        refuse = partial(_absence_or_refusal, index)
        try:
            return await self._call(calls.CHILD, decode, index=index, slot=slot, refuse=refuse)
        except _AbsenceError as absence:
            return absence.proof

    async def context(self, index: bytes, slots: Sequence[bytes]) -> Context:
        body = reading_messages.encode_context_request(slots)
        return await self._call(calls.CONTEXT, reading_messages.decode_context, index=index, body=body)

    async def page(
        self,
        index: bytes,
        *,
        at: int | None = None,
        after: bytes | None = None,
        limit: int = PAGE_DEFAULT,
        names_only: bool = False,
    ) -> Page:
        query = queries.page_query(queries.PageQuery(at, after, limit, names_only))
        decode = partial(reading_messages.decode_page, names_only=names_only)
        return await self._call(calls.LIST, decode, index=index, query=query)

    async def heads(self, index: bytes, first: int, last: int) -> HeadRange:
        query = queries.heads_query(queries.HeadsQuery(first, last))
        return await self._call(calls.HEADS, reading_messages.decode_heads, index=index, query=query)

    async def wait(self, index: bytes, version: int, timeout_s: float) -> SignedHead | None:
        timeout_s = min(timeout_s, WAIT_MAX_S)
        query = queries.wait_query(queries.WaitQuery(version, timeout_s))
        answer: SignedHead | object = await self._call(
            calls.WAIT,
            reading_messages.decode_wait_answer,
            index=index,
            query=query,
            wait_s=timeout_s,
            empty=_NOTHING,
        )
        return answer if isinstance(answer, SignedHead) else None

    async def changes(
        self,
        index: bytes,
        since: int,
        *,
        at: int | None = None,
        after: bytes | None = None,
        limit: int = PAGE_DEFAULT,
    ) -> Changes:
        query = queries.changes_query(queries.ChangesQuery(since, at, after, limit))
        return await self._call(calls.CHANGES, reading_messages.decode_changes, index=index, query=query)

    # -- leases

    async def renew_lease(self, refresh_id: bytes, secret: bytes, seconds: int) -> int:
        return await self._call(
            calls.RENEW_LEASE,
            service_messages.decode_lease_answer,
            refresh_id=refresh_id,
            body=service_messages.encode_lease_request(seconds),
            shown=[headers.lease_secret_header(secret)],
        )

    async def cancel_lease(self, refresh_id: bytes, secret: bytes) -> None:
        shown = [headers.lease_secret_header(secret)]
        await self._call(calls.CANCEL_LEASE, _nothing, refresh_id=refresh_id, shown=shown, empty=_NOTHING)

    async def lease_info(self, refresh_id: bytes, secret: bytes) -> LeaseInfo:
        shown = [headers.lease_secret_header(secret)]
        return await self._call(
            calls.LEASE_INFO, service_messages.decode_lease_info, refresh_id=refresh_id, shown=shown
        )

    # -- bundles

    async def export(self, index: bytes) -> AsyncIterator[bytes]:
        place = self._ordered()[0]
        async for piece in place.download(calls.path(calls.EXPORT, index=index), calls.BUNDLE_MAX):
            yield piece

    async def import_bundle(
        self, index: bytes, bundle: AsyncIterator[bytes], enabler: bytes, proof: bytes, account: str | None
    ) -> Committed:
        shown = [headers.enabler_header(index, enabler), headers.proof_header(index, proof)]
        if account is not None:
            shown.append(headers.account_header(account))
        return await self._ordered()[0].upload(
            calls.path(calls.IMPORT), bundle, commit_messages.decode_import_answer, shown
        )

    # -- the rest is private

    async def _call(
        self,
        endpoint: Endpoint,
        decode: Callable[[bytes], T],
        *,
        index: bytes = b"",
        slot: bytes = b"",
        refresh_id: bytes = b"",
        query: str = "",
        body: bytes | None = None,
        shown: Sequence[headers.Header] = (),
        wait_s: float = 0.0,
        empty: T | None = None,
        refuse: Refuse = decode_refusal,
    ) -> T:
        """Make a call at the first place that answers."""
        target = calls.path(endpoint, index=index, slot=slot, refresh_id=refresh_id)
        target = f"{target}?{query}" if query else target
        errors: list[ServerError] = []
        unauthorized: VdriveUnauthorizedError | None = None
        places = self._ordered()
        for place in places:
            silence_s = SILENCE_S if place is places[-1] else SILENCE_IF_OTHERS_S
            try:
                answer = await place.call(
                    endpoint,
                    target,
                    decode,
                    body=body,
                    shown=shown,
                    wait_s=wait_s,
                    silence_s=silence_s,
                    empty=empty,
                    refuse=refuse,
                )
            except VdriveUnauthorizedError as error:
                # Whoever wrote the capability with this place had it wrong, or the secret was changed since.
                self._failed(place, error)
                unauthorized = error
                continue
            except ServerError as error:
                self._failed(place, error)
                errors.append(error)
                continue
            self._answered(place)
            return answer
        if unauthorized is not None and all(isinstance(error, WrongServerKeyError) for error in errors):
            raise unauthorized
        found = next((error for error in errors if not isinstance(error, WrongServerKeyError)), errors[0])
        if type(found) is not ServerError:
            raise found
        raise ServerError(f"the virtual drive server at {places[0].nurl.address}: {found}") from found

    def _ordered(self) -> list[ServicePlace]:
        if not self._places:
            raise ServerError("nobody knows where it is: it is not announced, and the capability has no hint")
        return list(self._places)

    def _answered(self, place: ServicePlace) -> None:
        place.good = True
        if place in self._places and self._places[0] is not place:
            self._places.remove(place)
            self._places.insert(0, place)

    def _failed(self, place: ServicePlace, error: HoldfastError) -> None:
        if isinstance(error, WrongServerKeyError):
            log.warning("another server is where a virtual drive server was", place=place.nurl.address)
        place.good = False
        if place in self._places and len(self._places) > 1:
            self._places.remove(place)
            self._places.append(place)


class _AbsenceError(Exception):
    """There is no entry in a slot; ``proof`` shows it."""

    def __init__(self, proof: Context) -> None:
        super().__init__("there is no such child")
        self.proof = proof


def _absence_or_refusal(index: bytes, status: int, body: bytes, retry_after_s: float) -> Exception:
    proof = decode_absence(body, index) if status == NO_SUCH_CHILD_STATUS else None
    return decode_refusal(status, body, retry_after_s) if proof is None else _AbsenceError(proof)


def _nothing(body: bytes) -> object:
    return _NOTHING
