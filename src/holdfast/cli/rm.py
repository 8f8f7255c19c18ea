"""``holdfast rm``: another word for ``unlink``, which scripts use."""

from __future__ import annotations

from holdfast.cli.unlink import unlink

rm = unlink
