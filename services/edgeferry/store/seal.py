"""The site's own key for credentials: with it tokens are found by a hash and kept sealed, so
that whoever gets the store's file or tables alone cannot act as a device.

The key is a file, private to its owner: that of the data folder, or the one that the settings
name. All processes of a site need the same one, also where they run on several machines.
"""

import errno
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from edgeferry.core.errors import StoreUnavailable, StoreUnusable
from edgeferry.core.store import EntityKey
from edgeferry.files.whole import sync_folder, write_new

KEY_FILE = "credentials.key"
_KEY_BYTES = 32
_OWNER_ONLY = 0o600


class Seal:
    """``open`` comes first. A sealed text belongs to its entity: it is none of another one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._hash_key = b""
        self._cipher: AESSIV | None = None

    def open(self, *, make: bool = True) -> None:
        """Read the key; the first time, make it. Without ``make`` a key that is missing is
        missed by whoever needs it.

        Raises StoreUnusable when there is no using it, StoreUnavailable when the disk is full."""
        try:
            key = self._read()
            if key is None and make:
                self._make()
                key = self._read()
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StoreUnavailable(f"{self._path}: {error}: free space on its disk") from None
            raise StoreUnusable(
                f"the key of the credentials {self._path} cannot be used ({error}): restore it "
                "from a backup, with its permissions"
            ) from None
        if key is not None:
            self._hash_key = hmac.digest(key, b"edgeferry: find a token", "sha256")
            self._cipher = AESSIV(hmac.digest(key, b"edgeferry: seal credentials", "sha512"))

    def _read(self) -> bytes | None:
        """Raises OSError, ValueError."""
        try:
            key = bytes.fromhex(self._path.read_text("ascii"))
        except FileNotFoundError:
            return None
        if len(key) != _KEY_BYTES:
            raise ValueError(f"{_KEY_BYTES} bytes in hexadecimal digits are wanted")
        if self._path.stat().st_mode & 0o077:
            with suppress(OSError):  # it may be mounted to be read only
                self._path.chmod(_OWNER_ONLY)
        return key

    def _make(self) -> None:
        """Another process may do the same at this moment: the first key stays."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        beside = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        beside.unlink(missing_ok=True)
        try:
            write_new(beside, f"{secrets.token_hex(_KEY_BYTES)}\n".encode(), _OWNER_ONLY)
            with suppress(FileExistsError):
                os.link(beside, self._path)
        finally:
            beside.unlink(missing_ok=True)
        sync_folder(self._path.parent)

    def hash(self, token: str) -> str:
        """What a token is found by. Raises StoreUnavailable."""
        self._opened()
        return hmac.digest(self._hash_key, token.encode(errors="surrogatepass"), "sha256").hex()

    def close(self, key: EntityKey, text: str) -> bytes:
        """The same text of the same entity always gives the same. Raises StoreUnavailable."""
        return self._opened().encrypt(text.encode(), [_name(key)])

    def reveal(self, key: EntityKey, sealed: bytes) -> str:
        """Raises StoreUnavailable, StoreUnusable."""
        try:
            return self._opened().decrypt(sealed, [_name(key)]).decode()
        except InvalidTag:
            raise StoreUnusable(
                f"the credentials of {key[0]} {key[1]} were sealed with another key than "
                f"{self._path}: restore that file from a backup; or, where this is another "
                "site's store, name the keyspace or data folder of this one in its settings"
            ) from None

    def _opened(self) -> AESSIV:
        if self._cipher is None:
            raise StoreUnavailable(f"there is no key of the credentials {self._path} yet")
        return self._cipher


def _name(key: EntityKey) -> bytes:
    return "/".join(key).encode()
