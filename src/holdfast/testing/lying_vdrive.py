"""A real virtual drive server that lies: it drops, repeats, exchanges, hides, and tells two stories.

What it says is well-formed, and every signature in it is one that a writer made; it lies with what it has.

Source: docs/spec/vdrive.md, sections 7, 8.5 to 8.7 and 15; V-07 and V-08.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from holdfast.formats.vdrive.entry import SealedEntry, digests_of
from holdfast.formats.vdrive.head import head_hash, parse_head
from holdfast.formats.vdrive.opening import witness_of
from holdfast.formats.vdrive.page import page_witness
from holdfast.interfaces.vdrive import (
    Authority,
    CommitAnswer,
    CommitRequest,
    Committed,
    Context,
)
from holdfast.servers.vdrive.engine import VdriveEngine
from holdfast.testing.vdrive_tree import MemoryTree

Lie = Callable[..., Awaitable[Any]]
"""Given the true call and its arguments, returns what is answered."""


class LyingVdrive:
    """An engine, some calls of which do not tell the truth.

    Attributes:
        lies: by the name of the call.
    """

    def __init__(self, engine: VdriveEngine) -> None:
        self.engine = engine
        self.lies: dict[str, Lie] = {}

    def __getattr__(self, name: str) -> Any:
        true = getattr(self.engine, name)
        lie = self.lies.get(name)
        if lie is None:
            return true

        async def told(*args: Any, **options: Any) -> Any:
            return await lie(true, *args, **options)

        return told

    def honest(self) -> None:
        """Tell the truth from now on."""
        self.lies.clear()

    # -- lies about what was written

    def drop_commits(self) -> None:
        """Say that commits are made, and make none."""

        async def commit(true: Lie, request: CommitRequest, authority: Authority) -> CommitAnswer:
            made = [
                Committed(section.index, parse_head(section.head.head).version, head_hash(section.head.head))
                for section in request.sections
            ]
            return CommitAnswer(tuple(made), int(self.engine.clock()))

        self.lies["commit"] = commit

    # -- lies about what is there

    async def repeat(self, index: bytes, slots: list[bytes]) -> None:
        """Go on showing a directory as it is now."""
        info = await self.engine.describe(index)
        children = {slot: await self.engine.child(index, slot) for slot in slots}

        def repeated(answer: Any) -> Lie:
            async def lie(true: Lie, asked: bytes, *args: Any, **options: Any) -> Any:
                return answer if asked == index else await true(asked, *args, **options)

            return lie

        pages = [await self.engine.page(index, names_only=names_only) for names_only in (False, True)]

        async def page(true: Lie, asked: bytes, **options: Any) -> Any:
            return pages[options["names_only"]] if asked == index else await true(asked, **options)

        async def child(true: Lie, asked: bytes, slot: bytes) -> Any:
            return children[slot] if asked == index and slot in children else await true(asked, slot)

        self.lies |= {
            "child": child,
            "context": repeated(await self.engine.context(index, slots)),
            "page": page,
            "describe": repeated(info),
            "wait": repeated(info.head),
        }

    def answer_with(self, other: bytes) -> None:
        """Answer whatever is asked of any directory with the truth about another one."""

        def about(call: str) -> Lie:
            async def lie(true: Lie, index: bytes, *args: Any, **options: Any) -> Any:
                answer = await true(other, *args, **options)
                return replace(answer, index=index) if isinstance(answer, Context) else answer

            return lie

        self.lies |= {
            call: about(call) for call in ("child", "context", "page", "describe", "heads", "changes")
        }

    def exchange_entries(self, other: bytes | None = None) -> None:
        """Show each entry with the boxes of another one of the same directory, or of ``other``."""

        async def entries_of(index: bytes) -> list[SealedEntry]:
            return list((await self.engine.page(index if other is None else other)).entries)  # type: ignore[arg-type]

        async def exchanged(index: bytes, entries: Any) -> tuple[SealedEntry, ...]:
            donors = await entries_of(index)
            return tuple(
                SealedEntry(
                    entry.slot, entry.version, *next(one for one in donors if one.slot != entry.slot)[2:]
                )
                for entry in entries
            )

        async def context(true: Lie, index: bytes, *args: Any) -> Any:
            answer = await true(index, *args)
            return replace(answer, entries=await exchanged(index, answer.entries))

        async def page(true: Lie, index: bytes, **options: Any) -> Any:
            answer = await true(index, **options)
            if options.get("names_only"):
                return answer
            return answer._replace(entries=await exchanged(index, answer.entries))

        self.lies |= {"child": context, "context": context, "page": page}

    def hide(self, slot: bytes) -> None:
        """Show every directory without an entry, with a tree that fits, under the true head."""

        async def context(true: Lie, index: bytes, slots: Any) -> Any:
            answer = await true(index, slots)
            asked = [slots] if isinstance(slots, bytes) else list(slots)
            tree = witness_of(await self._tree_without(index, slot), asked)
            entries = tuple(entry for entry in answer.entries if entry.slot != slot)
            return replace(answer, tree=tree, entries=entries)

        async def page(true: Lie, index: bytes, **options: Any) -> Any:
            answer = await true(index, **options)
            entries = tuple(entry for entry in answer.entries if entry.slot != slot)
            tree = page_witness(await self._tree_without(index, slot), options.get("after"), answer.next)
            return answer._replace(tree=tree, entries=entries)

        async def changes(true: Lie, index: bytes, since: int, **options: Any) -> Any:
            answer = await true(index, since, **options)
            named = [entry.slot for entry in answer.entries] + list(answer.deleted)
            tree = witness_of(await self._tree_without(index, slot), sorted(set(named) - {slot}))
            entries = tuple(entry for entry in answer.entries if entry.slot != slot)
            return answer._replace(tree=tree, entries=entries)

        self.lies |= {"child": context, "context": context, "page": page, "changes": changes}

    async def _tree_without(self, index: bytes, slot: bytes) -> MemoryTree:
        entries = [entry for entry in (await self.engine.page(index)).entries if entry.slot != slot]
        digests = digests_of(entries)
        return MemoryTree({entry.slot: digest for entry, digest in zip(entries, digests, strict=True)})

    # -- lies about what was

    def reorder_heads(self) -> None:
        """Tell the heads of a history in another order."""

        async def heads(true: Lie, *args: Any) -> Any:
            answer = await true(*args)
            return answer._replace(heads=tuple(reversed(answer.heads)))

        self.lies["heads"] = heads


class TwoStories:
    """Two servers that are one and the same to everybody: some are told one story, others the other one.

    Attributes:
        tell: the number of the story that is told now.
    """

    def __init__(self, stories: Sequence[VdriveEngine]) -> None:
        self.tell = 0
        self._stories = stories

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stories[self.tell], name)
