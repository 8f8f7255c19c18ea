"""The choke point for secrets: every line of a log passes through ``redacted``, whoever
wrote it, and leaves without capabilities, swissnums, keys and secret headers.

The last line of defence, not a licence: code does not log secrets in the first place.

Source: docs/spec/capabilities.md; docs/spec/storage-protocol.md, sections 3.2 and 5.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping

HIDDEN = "<hidden>"

# Server ids are public although they are as long as a secret; all other runs of base32 from 32
# characters on are swissnums (32), keys and secrets (52).
_PATTERNS = (
    (re.compile(r"\bURI(?::|%3[Aa])([A-Za-z0-9-]+)(?::|%3[Aa])[^\s\"'<>,;)\]}?]+"), rf"URI:\1:{HIDDEN}"),
    (re.compile(r"(pb://[^\s\"'@]*@[^\s\"'/]*/)[^\s\"'<>,;)\]}]+"), rf"\1{HIDDEN}"),
    (
        re.compile(r"(authorization[\"']?\s*[:=,]\s*[\"']?(?:[\w-]+ )?)[^\s\"',]+", re.IGNORECASE),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"(?<![A-Za-z0-9+=])[A-Za-z0-9+/]{43}="), HIDDEN),  # 32 bytes in base64
    (
        re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL),
        HIDDEN,
    ),
    (re.compile(r"(?<!v0-)(?<![A-Za-z0-9])[a-z2-7]{32,}(?![A-Za-z0-9])"), HIDDEN),
    (re.compile(r"\bhfr1-[0-9A-Za-z-]+", re.IGNORECASE), HIDDEN),  # a recovery line
    (re.compile(r"\bpriv-v0-[a-z2-7]+"), f"priv-v0-{HIDDEN}"),
)
_SECRET_WORDS = re.compile(
    r"secret|swissnum|nurl|furl|enabler|password|token|(^|_)(cap|uri|key)$", re.IGNORECASE
)


def redacted(text: str) -> str:
    """Return ``text`` with everything that looks like a capability, key or secret hidden."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def hide_secret_fields(
    _logger: object, _method: str, event: MutableMapping[str, object]
) -> MutableMapping[str, object]:
    """Hide what is called a secret, and raw bytes, which no pattern would know (a structlog processor)."""
    for name, value in event.items():
        if _SECRET_WORDS.search(name):
            event[name] = HIDDEN
        elif isinstance(value, bytes | bytearray | memoryview):
            event[name] = f"<{len(value)} bytes>"
    return event
