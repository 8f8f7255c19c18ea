"""Calls that make, list and revoke tokens.

Source: docs/spec/control-and-introducer.md, section 2.3.
"""

from __future__ import annotations

import asyncio

from holdfast.node.control.answers import json_answer
from holdfast.node.control.arguments import body_arguments, query_arguments
from holdfast.node.control.tokens import LIFE_DEFAULT_S, LIFE_MAX_S, Grant, Tokens
from holdfast.wire.http import Request, Response


class TokenCalls:
    """The token calls of one node."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    async def mint(self, request: Request, grant: Grant) -> Response:
        """``POST tokens``: make a token that can do a part of what the one presented can."""
        arguments = await body_arguments(request)
        scopes = arguments.texts("scopes")
        seconds = arguments.number("seconds", 1, LIFE_MAX_S, LIFE_DEFAULT_S)
        label = arguments.text("label", "")
        arguments.finish()
        token, kept = await asyncio.to_thread(self._tokens.mint, grant, scopes, seconds, label)
        return json_answer({"token": token, "id": kept.id, "expires": kept.expires})

    async def all(self, request: Request, _: Grant) -> Response:
        """``GET tokens``: what was minted and is valid."""
        query_arguments(request).finish()
        return json_answer(
            {
                "tokens": [
                    {"id": one.id, "scopes": list(one.scopes), "label": one.label, "expires": one.expires}
                    for one in self._tokens.all()
                ]
            }
        )

    async def revoke(self, request: Request, grant: Grant) -> Response:
        """``DELETE tokens/{id}``: make a token worthless."""
        query_arguments(request).finish()
        token_id = request.path.rpartition("/")[2]
        await asyncio.to_thread(self._tokens.revoke, grant, token_id)
        return json_answer({"id": token_id})
