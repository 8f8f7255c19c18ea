"""Refusals of a virtual drive server, as the answers by which they travel, and that there is
no such child, with its proof.

Source: docs/spec/vdrive.md, sections 8.1, 8.4, 8.5, 13.4 and appendix B.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from holdfast.formats.vdrive.witness import Witness
from holdfast.interfaces.vdrive import DIRECTORIES_MAX, Context
from holdfast.interfaces.vdrive_errors import (
    BadCreateError,
    BadProofError,
    BadWriteEnablerError,
    DirectoryExistsError,
    HeadConflictError,
    HistoryPrunedError,
    MalformedVdriveRequestError,
    NoPublicRootError,
    NoSuchDirectoryError,
    NoSuchVdriveCallError,
    NotAuthorisedToCreateError,
    NotCborError,
    OperationsMismatchError,
    QuotaExceededError,
    RefusedBundleError,
    RefusedHeadError,
    RootMismatchError,
    SnapshotExpiredError,
    TooManyLeasesError,
    TooManyVdriveRequestsError,
    TurnTakenError,
    VdriveBusyError,
    VdriveRefusalError,
    VdriveTooLargeError,
    VdriveUnauthorizedError,
)
from holdfast.protocol import message_items as items
from holdfast.protocol.message_items import MalformedMessageError
from holdfast.protocol.vdrive_calls import CONFLICT_ANSWER_MAX
from holdfast.protocol.vdrive_items import (
    answer_fields,
    decoded_answer,
    encoded,
    signed_head,
    tree,
    tree_item,
)
from holdfast.protocol.vdrive_reading_messages import context_item, context_of

NO_SUCH_CHILD_STATUS = 404
NO_SUCH_CHILD = "NoSuchChild"

_CODE_MAX = 40  # characters
_SENTENCE_MAX = 300
_PERHAPS_SECRET = re.compile(r"\S{16,}")  # no swissnum is shorter
_NOT_TOLD = "the server does not say why"

_REFUSALS: dict[tuple[int, str], type[VdriveRefusalError]] = {
    (refusal.status, refusal.code): refusal
    for refusal in (
        MalformedVdriveRequestError,
        VdriveUnauthorizedError,
        BadWriteEnablerError,
        NotAuthorisedToCreateError,
        NoSuchDirectoryError,
        NoPublicRootError,
        NoSuchVdriveCallError,
        HeadConflictError,
        DirectoryExistsError,
        TooManyLeasesError,
        SnapshotExpiredError,
        HistoryPrunedError,
        VdriveTooLargeError,
        NotCborError,
        BadCreateError,
        RefusedHeadError,
        RefusedBundleError,
        BadProofError,
        OperationsMismatchError,
        RootMismatchError,
        TurnTakenError,
        TooManyVdriveRequestsError,
        VdriveBusyError,
        QuotaExceededError,
    )
}


def encode_refusal(refusal: VdriveRefusalError) -> bytes:
    """Return the body of the answer; its status and ``Retry-After`` are not part of it.

    Contexts of a conflict are left out if they would be more than ``CONFLICT_ANSWER_MAX``. Whoever gets none
    asks for them.
    """
    message: dict[str, object] = {"error": refusal.code, "message": str(refusal)}
    if isinstance(refusal, HistoryPrunedError):
        message["detail"] = {"oldest": refusal.oldest}
    elif isinstance(refusal, HeadConflictError) and refusal.contexts:
        contexts = [context_item(context) for context in refusal.contexts]
        body = encoded({**message, "detail": {"dirs": contexts}})
        if len(body) <= CONFLICT_ANSWER_MAX:
            return body
    return encoded(message)


def decode_refusal(status: int, data: bytes, retry_after_s: float = 0.0) -> VdriveRefusalError:
    """Return what a server refused, to be raised.

    A code that is not known here counts as the general one of its kind: the server cannot do it now, or does
    not do it. Words of its sentence that could be secrets of ours are not repeated.

    Raises:
        MalformedMessageError: the answer is no refusal.
    """
    code, sentence, detail = _error(data)
    if not 400 <= status < 600:
        raise MalformedMessageError("error: not a status of one")
    refusal_type = _REFUSALS.get((status, code))
    if refusal_type is None:
        refusal_type = VdriveBusyError if status >= 500 else VdriveRefusalError
    if refusal_type is HistoryPrunedError:
        oldest = items.number(detail.get("oldest", 0), "oldest")
        refusal: VdriveRefusalError = HistoryPrunedError(sentence, oldest)
    elif refusal_type is HeadConflictError:
        refusal = HeadConflictError(sentence, _contexts(detail))
    else:
        refusal = refusal_type(sentence)
    refusal.retry_after_s = retry_after_s
    return refusal


def encode_absence(absence: Context) -> bytes:
    """Return the body of the answer, with status ``NO_SUCH_CHILD_STATUS``, that there is no entry."""
    detail = {"head": absence.head, "tree": tree_item(absence.tree)}
    return encoded({"error": NO_SUCH_CHILD, "message": "there is no such child", "detail": detail})


def decode_absence(data: bytes, index: bytes) -> Context | None:
    """Return the proof that there is no entry, for the directory that was asked about.

    None if the answer is a refusal of another kind.

    Raises:
        MalformedMessageError: it is neither.
    """
    code, _, detail = _error(data)
    if code != NO_SUCH_CHILD:
        return None
    parts = answer_fields(detail, "detail", ("head", "tree"))
    found: Witness = tree(parts["tree"])
    return Context(index, signed_head(parts["head"]), found, ())


def _error(data: bytes) -> tuple[str, str, Mapping[str, object]]:
    """Return code, sentence and detail."""
    message = answer_fields(decoded_answer(data), "error", ("error", "message"))
    code = items.shown_text(message["error"], "error", _CODE_MAX)
    sentence = items.shown_text(message["message"], "message")[:_SENTENCE_MAX]
    detail = items.text_map(message.get("detail", {}), "detail")
    return code, _PERHAPS_SECRET.sub("...", sentence) or _NOT_TOLD, detail


def _contexts(detail: Mapping[str, object]) -> tuple[Context, ...]:
    if "dirs" not in detail:
        return ()
    contexts = items.array(detail["dirs"], "dirs", 1, DIRECTORIES_MAX)
    return tuple([context_of(context) for context in contexts])
