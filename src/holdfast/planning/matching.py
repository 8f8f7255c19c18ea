"""A maximum matching, grown one by one, the same for the same input.

Source: docs/spec/grid.md, section 10.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

L = TypeVar("L", bound=Hashable)
R = TypeVar("R", bound=Hashable)


class Matching(Generic[L, R]):
    """Matches each left side to at most one right side it may have, and the other way round.

    ``choices`` says which, in order of preference. Choices may be added between calls, never taken away.
    """

    def __init__(self, choices: Mapping[L, Sequence[R]]) -> None:
        self._choices = choices
        self._holder: dict[R, L] = {}
        self.matched: dict[L, R] = {}

    def add(self, left: L) -> bool:
        """Match ``left``, moving others if need be; say whether that can be done.

        Adding all, in any order, gives as many matches as there can be. None that was matched is dropped.
        """
        for holder, right in self._augmenting_path(left):
            self._holder[right] = holder
            self.matched[holder] = right
        return left in self.matched

    def _augmenting_path(self, start: L) -> list[tuple[L, R]]:
        """Return pairs that make one more match, or none. Depth first; every right side is visited once."""
        visited: set[R] = set()
        # A stack of our own, since paths can be long: each left side with the choices it has not tried.
        stack: list[tuple[L, Iterator[R]]] = [(start, iter(self._choices.get(start, ())))]
        taken: list[R] = []
        while stack:
            right = next((r for r in stack[-1][1] if r not in visited), None)
            if right is None:
                stack.pop()
                if taken:
                    taken.pop()
                continue
            visited.add(right)
            taken.append(right)
            if right not in self._holder:
                return [(left, r) for (left, _), r in zip(stack, taken, strict=True)]
            owner = self._holder[right]
            stack.append((owner, iter(self._choices.get(owner, ()))))
        return []
