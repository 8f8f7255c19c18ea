"""The messages about a virtual drive server and what it keeps for whom: version, public root,
leases, accounts.

Source: docs/spec/vdrive.md, sections 8.2, 8.3, 12.1, 13.2 and appendix B.
"""

from __future__ import annotations

from typing import get_args

from holdfast.interfaces.vdrive import AccountState, Counts, LeaseInfo, VdriveVersion
from holdfast.interfaces.vdrive_choices import AccountsMode, PublicRootMode
from holdfast.protocol import message_items as items
from holdfast.protocol.message_items import MalformedMessageError
from holdfast.protocol.vdrive_items import answer_fields, decoded_answer, digest, encoded

TEXT_MAX = 200  # characters of a version, a feature, a label
FEATURES_MAX = 100
LIMITS_MAX = 100
URI_MAX = 1000  # characters

_PUBLIC_ROOTS: dict[str, PublicRootMode] = {mode: mode for mode in get_args(PublicRootMode)}
_ACCOUNTS: dict[str, AccountsMode] = {mode: mode for mode in get_args(AccountsMode)}

# -- version


def encode_version(version: VdriveVersion) -> bytes:
    return encoded(
        {
            "vdrive": {
                "protocol": version.protocol,
                "limits": dict(version.limits),
                "public-root": version.public_root,
                "accounts": version.accounts,
                "features": version.features,
            },
            "version": version.version,
            "oldest": version.oldest,
            "sid": version.sid,
        }
    )


def decode_version(data: bytes) -> VdriveVersion:
    """Raises MalformedMessageError, as all decoders here do."""
    outer = answer_fields(decoded_answer(data), "version", ("vdrive", "version", "oldest", "sid"))
    inner = answer_fields(
        outer["vdrive"], "vdrive", ("protocol", "limits", "public-root", "accounts", "features")
    )
    limits = items.text_map(inner["limits"], "limits")
    if len(limits) > LIMITS_MAX:
        raise MalformedMessageError("limits: too many")
    root = _PUBLIC_ROOTS.get(items.text(inner["public-root"], "public-root"))
    accounts = _ACCOUNTS.get(items.text(inner["accounts"], "accounts"))
    if root is None or accounts is None:
        raise MalformedMessageError("version: a mode that there is not")
    features = items.array(inner["features"], "features", 0, FEATURES_MAX)
    return VdriveVersion(
        protocol=items.number(inner["protocol"], "protocol"),
        limits={_text(name, "limits"): items.number(limit, "limits") for name, limit in limits.items()},
        public_root=root,
        accounts=accounts,
        features=tuple([_text(feature, "feature") for feature in features]),
        version=_text(outer["version"], "version"),
        oldest=_text(outer["oldest"], "oldest"),
        sid=digest(outer["sid"], "sid"),
    )


def _text(value: object, name: str) -> str:
    return items.shown_text(value, name, TEXT_MAX)


# -- public root


def encode_root(uri: str) -> bytes:
    return encoded({"uri": uri})


def decode_root(data: bytes) -> str:
    """Return the capability, which is not looked at here."""
    return items.text(answer_fields(decoded_answer(data), "root", ("uri",))["uri"], "uri", URI_MAX)


# -- leases


def encode_lease_request(seconds: int) -> bytes:
    return encoded({"seconds": seconds})


def decode_lease_request(data: bytes) -> int:
    """Return for how many seconds a lease is wanted."""
    return items.number(items.fields(items.decoded(data), "lease", ("seconds",))["seconds"], "seconds")


def encode_lease_answer(expires: int) -> bytes:
    """Return what tells when a lease that was renewed expires, Unix seconds."""
    return encoded({"expires": expires})


def decode_lease_answer(data: bytes) -> int:
    return items.number(answer_fields(decoded_answer(data), "lease", ("expires",))["expires"], "expires")


def encode_lease_info(info: LeaseInfo) -> bytes:
    return encoded({"expires": info.expires, "leases": info.leases})


def decode_lease_info(data: bytes) -> LeaseInfo:
    message = answer_fields(decoded_answer(data), "lease", ("expires", "leases"))
    expires = message["expires"]
    return LeaseInfo(
        None if expires is None else items.number(expires, "expires"),
        items.number(message["leases"], "leases"),
    )


# -- accounts


def encode_account(account: AccountState) -> bytes:
    return encoded(
        {"label": account.label, "max": _counts_map(account.allowed), "used": _counts_map(account.used)}
    )


def decode_account(data: bytes) -> AccountState:
    message = answer_fields(decoded_answer(data), "account", ("label", "max", "used"))
    return AccountState(
        _text(message["label"], "label"), _counts(message["max"], "max"), _counts(message["used"], "used")
    )


def _counts_map(counts: Counts) -> dict[str, int]:
    return {"dirs": counts.directories, "entries": counts.entries, "bytes": counts.size}


def _counts(value: object, name: str) -> Counts:
    parts = answer_fields(value, name, ("dirs", "entries", "bytes"))
    return Counts(
        items.number(parts["dirs"], name),
        items.number(parts["entries"], name),
        items.number(parts["bytes"], name),
    )
