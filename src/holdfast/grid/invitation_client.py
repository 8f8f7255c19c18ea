"""Redeeming an invitation: the introducer is recognised first, then shown the secret, once.

An invitation holds half of the hash of the introducer's TLS key. The whole hash is learned from a
connection over which nothing is sent; if it begins as the invitation says, the secret goes over
a second connection, which must present the same key.

Source: docs/spec/control-and-introducer.md, section 3.11.
"""

from __future__ import annotations

import asyncio
import hmac

from holdfast.crypto import base32
from holdfast.errors import CapabilityError, ServerError, WrongServerKeyError
from holdfast.grid.cbor_service import CborService, RefusedCallError
from holdfast.protocol.invitation import (
    ANSWER_MAX,
    REDEEM_PATH,
    Invitation,
    Welcome,
    decode_welcome,
    pin_of,
    redeem_authorization,
)
from holdfast.protocol.nurl import Nurl
from holdfast.wire.client import Address
from holdfast.wire.pinning import WrongKeyError, pinning_ssl_context
from holdfast.wire.presented_key import presented_key

REDEEM_S = 30.0  # for everything together

STILL_GOOD = "the invitation was not used"
PERHAPS_USED = "the invitation may be used up now: try again, and ask for a new one if it is refused"


class InvitationError(CapabilityError):
    """The invitation is malformed, unknown, expired or used up: ask for a new one."""


async def redeem(invitation: Invitation, timeout_s: float = REDEEM_S) -> Welcome:
    """Use up ``invitation``; return what the introducer says to that.

    Args:
        timeout_s: seconds after which the introducer counts as hung.

    Raises:
        WrongServerKeyError: another key than the invited one was presented; the secret was not sent.
        InvitationError: the introducer does not know the invitation, or no longer.
        ServerError: the introducer cannot be reached, is hung, refuses, or answers nonsense. The
            message says whether the invitation can still be good.
    """
    address = Address(invitation.host, invitation.port)
    who = f"the introducer at {address.host_header}"
    deadline = asyncio.get_running_loop().time() + timeout_s
    service = await _recognised(invitation, address, who, deadline)
    try:
        async with asyncio.timeout_at(deadline):
            return await service.call("POST", REDEEM_PATH, decode_welcome, body=b"", answer_max=ANSWER_MAX)
    except WrongServerKeyError:
        raise _impostor(who) from None
    except RefusedCallError as refusal:
        raise _refused(refusal, who) from None
    except ServerError as error:
        raise ServerError(f"{who}: {error}; {PERHAPS_USED}") from None
    except TimeoutError:
        raise ServerError(f"{who} is hung: no answer within {timeout_s:g} s; {PERHAPS_USED}") from None
    finally:
        service.close()


async def _recognised(invitation: Invitation, address: Address, who: str, deadline: float) -> CborService:
    """Return the service that has the invited key. Nothing is sent."""
    context = pinning_ssl_context()
    try:
        async with asyncio.timeout_at(deadline):
            seen = await presented_key(address, context)
    except WrongKeyError:
        raise _impostor(who) from None
    except TimeoutError:
        raise ServerError(f"{who} is hung: it did not take the connection in time; {STILL_GOOD}") from None
    except ConnectionError as error:
        raise ServerError(f"{who} cannot be reached: {error}; {STILL_GOOD}") from None
    if not hmac.compare_digest(pin_of(seen), invitation.pin):
        raise _impostor(who)
    secret = invitation.secret
    nurl = Nurl("pb", seen, address.host, address.port, base32.encode(secret))
    return CborService(nurl, redeem_authorization(secret), context, connections_max=1)


def _impostor(who: str) -> WrongServerKeyError:
    return WrongServerKeyError(
        f"{who} presented another TLS key than the one in the invitation; {STILL_GOOD}, nothing was sent. "
        "Ask whoever invited you whether the code is copied rightly, and the introducer still the same"
    )


def _refused(refusal: RefusedCallError, who: str) -> CapabilityError | ServerError:
    if refusal.status == 401:
        return InvitationError(
            f"{who} does not accept this invitation: it was used already, has expired, or never was one; "
            "ask for a new one"
        )
    if refusal.status in (429, 503):
        return ServerError(f"{who}: {refusal}; {STILL_GOOD}, try again later")
    return ServerError(f"{who}: {refusal}; {PERHAPS_USED}")
