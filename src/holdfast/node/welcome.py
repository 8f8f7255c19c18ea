"""What an introducer tells a node that was invited.

Source: docs/spec/control-and-introducer.md, section 3.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from holdfast.node.config import NodeConfig
from holdfast.node.introducer_nurls import read_introducer_nurls
from holdfast.protocol.invitation import Welcome
from holdfast.servers.introducer.invitations import StoredInvitation


def welcome_for(private: Path, config: NodeConfig) -> Callable[[StoredInvitation], Welcome]:
    """Return what answers a redeemed invitation: a server may publish, a client may only read.

    Args:
        private: of the introducer's node, which has served before.
        config: its settings; the encoding of its client side, if it has one, is recommended.
    """
    encoding = config.client.encoding
    chosen = (encoding.shares_needed, encoding.happiness, encoding.shares_total)

    def welcome(invitation: StoredInvitation) -> Welcome:
        nurls = read_introducer_nurls(private)
        return Welcome(
            role=invitation.role,
            nickname=invitation.nickname,
            introducers=(nurls.publish if invitation.role == "server" else nurls.subscribe,),
            encoding=chosen if config.client.enabled else None,
            grid=config.node.nickname,
        )

    return welcome
