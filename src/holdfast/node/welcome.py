"""What an introducer tells a node that was invited.

Source: docs/spec/control-and-introducer.md, section 3.11.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from holdfast.errors import ConfigError
from holdfast.node.config import ClientConfig, NodeConfig, load_config
from holdfast.node.introducer_nurls import read_introducer_nurls
from holdfast.node.places import GRID_CLIENT, GRID_FILE
from holdfast.node.swissnums import VDRIVE_SWISSNUM_FILE, read_swissnum
from holdfast.protocol.invitation import Welcome
from holdfast.protocol.nurl import parse_nurl
from holdfast.servers.introducer.invitations import StoredInvitation

LABEL_MAX = 100  # characters

NewAccount = Callable[[str], str | None]
"""Makes an account at the virtual drive server of the node, and returns its token; None if none is needed. It
gets a label, may block, and is called in a thread."""


def welcome_for(
    private: Path, config: NodeConfig, new_account: NewAccount
) -> Callable[[StoredInvitation], Welcome]:
    """Return what answers a redeemed invitation: a server may publish, a client may only read.

    Args:
        private: of the introducer's node, which has served before.
        new_account: called for each client that joins.
        config: its settings. The encoding of its client side, if it has one, is recommended; inside a local
            grid, that of the client there.
    """

    def welcome(invitation: StoredInvitation) -> Welcome:
        nurls = read_introducer_nurls(private)
        client = config.client if config.client.enabled else _client_of_local_grid(private.parent.parent)
        encoding = None if client is None else client.encoding
        return Welcome(
            role=invitation.role,
            nickname=invitation.nickname,
            introducers=(nurls.publish if invitation.role == "server" else nurls.subscribe,),
            encoding=None
            if encoding is None
            else (encoding.shares_needed, encoding.happiness, encoding.shares_total),
            # Whoever joins refuses names that cannot be shown; by then the invitation is used up.
            grid="".join(character for character in config.node.nickname if character.isprintable()),
            vdrive=_account(
                private, nurls.subscribe, new_account(f"invited: {invitation.nickname}"[:LABEL_MAX])
            ),
        )

    return welcome


def _account(private: Path, introducer: str, token: str | None) -> tuple[str, str] | None:
    """Return where the virtual drive server of this node is, beside its introducer, and the token."""
    if token is None:
        return None
    swissnum = read_swissnum(private / VDRIVE_SWISSNUM_FILE)
    return replace(parse_nurl(introducer), swissnum=swissnum).to_text(), token


def _client_of_local_grid(directory: Path) -> ClientConfig | None:
    # Without an encoding the invitation is as good; failing now would waste it.
    with suppress(ConfigError):
        if (directory / GRID_FILE).is_file():
            return load_config(directory / GRID_CLIENT).client
    return None
