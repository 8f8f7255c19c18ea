"""What another node tells of itself, asked over pinned HTTPS.

Source: docs/spec/control-and-introducer.md, section 4.2; docs/spec/seed-map.md, S-023 to S-029.
"""

from __future__ import annotations

import ssl
from http import HTTPStatus
from urllib.parse import quote

import holdfast
from holdfast.errors import IncompatiblePeerError, ServerError
from holdfast.grid.cbor_service import CborService, RefusedCallError
from holdfast.interfaces.node import NodeVersions, NoSuchServiceError
from holdfast.interfaces.types import NodeId, NodeId20
from holdfast.protocol import node_messages as messages
from holdfast.protocol.introducer_calls import authorization_value
from holdfast.protocol.node_messages import NodeIds
from holdfast.protocol.nurl import Nurl, spki_hash_bytes
from holdfast.protocol.versions import OLDEST_SUPPORTED, compatible

MY_VERSION = (holdfast.__version__, OLDEST_SUPPORTED)


class HttpNode:
    """Implements ``interfaces.node.NodeService`` for the node a NURL names. Close it after use.

    Every method raises ServerError for a node that is gone, hung, refuses or breaks the protocol,
    WrongServerKeyError for one with another TLS key.
    Services of a node with which this version cannot talk are not handed out.
    """

    def __init__(self, nurl: Nurl, context: ssl.SSLContext | None = None) -> None:
        """``context`` is what ``pinning_ssl_context`` gives; several nodes may share one."""
        self._calls = CborService(nurl, authorization_value(nurl.swissnum), context)
        self._node_id = spki_hash_bytes(nurl.spki_hash)
        self._compatible = False  # known to be

    async def get_versions(self) -> tuple[str, str]:
        document = await self.get_version_document()
        return document.mine, document.oldest

    async def get_version_document(self) -> NodeVersions:
        return await self._calls.call("GET", messages.VERSIONS_PATH, messages.decode_versions)

    async def get_service(self, name: str) -> str:
        """Return the NURL of a service.

        Raises:
            IncompatiblePeerError: the node's version and ours cannot talk to each other.
            NoSuchServiceError: as in the protocol.
        """
        if not self._compatible:
            reason = compatible(MY_VERSION, await self.get_versions())
            if reason is not None:
                raise IncompatiblePeerError(reason)
            self._compatible = True
        try:
            path = messages.service_path(quote(name, safe=""))
            return await self._calls.call("GET", path, messages.decode_service)
        except RefusedCallError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
        raise NoSuchServiceError("the node offers no service of this name")

    async def get_nodeid(self) -> NodeId20:
        return (await self._ids()).node_id

    async def get_node_id32(self) -> NodeId:
        return (await self._ids()).node_id32

    def close(self) -> None:
        """End every connection at once."""
        self._calls.close()

    async def _ids(self) -> NodeIds:
        """Return the ids, which must be those of the key that the connection was authenticated with."""
        ids = await self._calls.call("GET", messages.NODEID_PATH, messages.decode_nodeid)
        if ids.node_id32 != self._node_id:
            raise ServerError("it names another node id than that of its TLS key")
        return ids
