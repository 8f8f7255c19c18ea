"""Private keys that a user supplies for a mutable file, which then has a capability known beforehand.

Source: docs/spec/cli.md, section 4.4; docs/spec/mutable.md, section 2.2.
"""

from __future__ import annotations

from pathlib import Path

from holdfast.caps import MutableWriteCap
from holdfast.caps.mutable import MutableFormat as CapFormat
from holdfast.crypto import mutable_hashes
from holdfast.crypto.rsa_keys import SigningKey, load_private
from holdfast.errors import InputError
from holdfast.formats.mutable_segmentation import MutableFormat

KEY_FILE_MAX = 64 << 10  # bytes


def read_private_key(path: Path) -> SigningKey:
    """Return the RSA key in the file ``path``: PEM or DER, PKCS#1 or PKCS#8.

    Raises:
        InputError: it cannot be read, or holds no such key; the message holds nothing of it.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(KEY_FILE_MAX + 1)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    try:
        return load_private(data)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


def capability_by_key(path: Path, file_format: MutableFormat) -> str:
    """Return the capability of the mutable file that is made with the key in the file ``path``.

    Raises: as ``read_private_key``.
    """
    key = read_private_key(path)
    write_key = mutable_hashes.write_key(key.private_der)
    label: CapFormat = "SSK" if file_format == "SDMF" else "MDMF"
    return MutableWriteCap(label, write_key, mutable_hashes.fingerprint(key.public_der)).to_text()
