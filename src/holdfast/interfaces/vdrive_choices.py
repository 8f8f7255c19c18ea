"""What the operator of a virtual drive server chooses, and its clients are told.

Source: docs/spec/vdrive.md, sections 10.2 and 13.1.
"""

from __future__ import annotations

from typing import Literal

PublicRootMode = Literal["none", "read-only", "read-write"]
"""Whether there is a root that all share, and what they may do with it."""
AccountsMode = Literal["open", "token"]
"""Who may make directories: all, within common limits, or who has an account."""
