"""The messages by which directories change: commits, and the enablers that writers register.

What heads, operations and proofs say is not looked at here: they are bytes of the right
number, which those who know the keys judge.

Source: docs/spec/vdrive.md, sections 8.4, 8.8, 8.9, 14.4 and appendix B.
"""

from __future__ import annotations

from holdfast.formats.vdrive.operations import OPERATIONS_SIZE_MAX
from holdfast.interfaces.vdrive import (
    DIRECTORIES_MAX,
    CommitAnswer,
    CommitRequest,
    Committed,
    NewDirectory,
    Section,
    Turn,
)
from holdfast.protocol import message_items as items
from holdfast.protocol.message_items import MalformedMessageError
from holdfast.protocol.vdrive_headers import PROOF_SIZE, TURN_SIZE
from holdfast.protocol.vdrive_items import (
    answer_fields,
    decoded_answer,
    digest,
    encoded,
    limited,
    signed_head,
)

# -- commit


def encode_commit_request(request: CommitRequest) -> bytes:
    message: dict[str, object] = {}
    if request.creates:
        message["create"] = [_create_map(new) for new in request.creates]
    if request.sections:
        message["dirs"] = [
            {"index": section.index, "ops": section.operations, "head": section.head}
            for section in request.sections
        ]
    return encoded(message)


def decode_commit_request(data: bytes) -> CommitRequest:
    """Return a commit of at least one directory; none comes twice in one of its two parts.

    Raises:
        MessageLimitError: too many directories.
        MalformedMessageError: for everything else outside the rules, as all decoders here do.
    """
    message = items.fields(items.decoded(data), "commit", (), ("create", "dirs"))
    if not message:
        raise MalformedMessageError("commit: of nothing")
    creates = tuple([_create(item) for item in _parts(message, "create")])
    sections = tuple([_section(item) for item in _parts(message, "dirs")])
    for indexes in ([new.index for new in creates], [section.index for section in sections]):
        if len(set(indexes)) != len(indexes):
            raise MalformedMessageError("commit: a directory comes twice")
    return CommitRequest(creates, sections)


def encode_commit_answer(answer: CommitAnswer) -> bytes:
    return encoded(
        {"dirs": [_committed_item(directory) for directory in answer.directories], "time": answer.time}
    )


def decode_commit_answer(data: bytes) -> CommitAnswer:
    message = answer_fields(decoded_answer(data), "commit", ("dirs", "time"))
    directories = items.array(message["dirs"], "dirs", 0, 2 * DIRECTORIES_MAX)
    return CommitAnswer(
        tuple([_committed(item) for item in directories]), items.number(message["time"], "time")
    )


def _create_map(new: NewDirectory) -> dict[str, object]:
    item: dict[str, object] = {
        "index": new.index,
        "rid": new.refresh_id,
        "vk": new.verify_key,
        "rc": new.commitment,
        "head": new.head,
        "proof": new.proof,
    }
    if new.lease_s is not None:
        item["lease"] = new.lease_s
    return item


def _parts(message: dict[str, object], name: str) -> list[object]:
    return limited(message[name], name, 1, DIRECTORIES_MAX) if name in message else []


def _create(value: object) -> NewDirectory:
    parts = items.fields(value, "create", ("index", "rid", "vk", "rc", "head", "proof"), ("lease",))
    return NewDirectory(
        index=digest(parts["index"], "index"),
        refresh_id=digest(parts["rid"], "rid"),
        verify_key=digest(parts["vk"], "vk"),
        commitment=digest(parts["rc"], "rc"),
        head=signed_head(parts["head"]),
        proof=items.octets(parts["proof"], "proof", PROOF_SIZE),
        lease_s=items.number(parts["lease"], "lease") if "lease" in parts else None,
    )


def _section(value: object) -> Section:
    parts = items.fields(value, "dirs", ("index", "ops", "head"))
    return Section(
        index=digest(parts["index"], "index"),
        operations=items.octets(parts["ops"], "ops", 1, OPERATIONS_SIZE_MAX),
        head=signed_head(parts["head"]),
    )


def _committed_item(directory: Committed) -> tuple[bytes, int, bytes]:
    return directory.index, directory.version, directory.head_hash


def _committed(value: object) -> Committed:
    index, version, head_hash = items.array(value, "dirs", 3, 3)
    return Committed(digest(index, "index"), items.number(version, "version"), digest(head_hash, "hash"))


# -- import


def encode_import_answer(directory: Committed) -> bytes:
    return encoded({"dir": _committed_item(directory)})


def decode_import_answer(data: bytes) -> Committed:
    return _committed(answer_fields(decoded_answer(data), "import", ("dir",))["dir"])


# -- turns and enablers


def encode_turn_answer(turn: Turn) -> bytes:
    return encoded({"turn": turn.turn, "ttl": turn.ttl_s})


def decode_turn_answer(data: bytes) -> Turn:
    message = answer_fields(decoded_answer(data), "turn", ("turn", "ttl"))
    return Turn(items.octets(message["turn"], "turn", TURN_SIZE), items.number(message["ttl"], "ttl"))


def encode_enrol_request(proof: bytes) -> bytes:
    return encoded({"proof": proof})


def decode_enrol_request(data: bytes) -> bytes:
    """Return the proof, 64 bytes."""
    message = items.fields(items.decoded(data), "enrol", ("proof",))
    return items.octets(message["proof"], "proof", PROOF_SIZE)
