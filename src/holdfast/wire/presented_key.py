"""Which key a server presents, asked without telling it anything: the handshake of TLS, and no byte more.

For who knows a part of the key's hash alone, and wants the whole before speaking.
"""

from __future__ import annotations

import asyncio
import os
import ssl

from holdfast.wire.client import Address
from holdfast.wire.pinning import WrongKeyError, certificate_spki_hash


async def presented_key(address: Address, context: ssl.SSLContext) -> str:
    """Return the SPKI hash, 43 characters, of the key that the server at ``address`` presents.

    Sets no time limit of its own but that of the handshake.

    Raises:
        ConnectionError: it cannot be reached, or does not speak TLS.
        WrongKeyError: what it presents is no certificate.
    """
    try:
        _, writer = await asyncio.open_connection(
            address.host, address.port, ssl=context, server_hostname="", ssl_shutdown_timeout=1
        )
    except ssl.SSLError as error:
        raise ConnectionError(f"TLS failed: {error.reason}") from error
    except UnicodeError as error:
        raise ConnectionError("its address is no name of a host") from error
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise ConnectionError((reason or str(error)).lower()) from error
    try:
        certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return certificate_spki_hash(certificate or b"")
    except ValueError:
        raise WrongKeyError(None) from None
    finally:
        writer.transport.abort()
