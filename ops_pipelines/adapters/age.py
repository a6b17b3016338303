"""age encryption (age-encryption.org/v1) by pyrage: for X25519 recipients, as streams.

pyrage holds the interpreter's lock while it works, and lets it go only where it calls a pipe of ours: each 8 KiB.
So it is always given pipes, never paths: the lease goes on being renewed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from ops_pipelines.errors import ChecksumMismatch, IdentityMissing, OpsError, UsageError

_GET = "make a pair of keys with `age-keygen`, and name the public one"
_Key = TypeVar("_Key")


class Pipe(Protocol):
    """What is read from, or written to, piece by piece."""

    def read(self, size: int = -1, /) -> bytes: ...
    def write(self, piece: bytes, /) -> int: ...
    def flush(self) -> None: ...


@dataclass(frozen=True)
class AgeSealer:
    """Encrypts for recipients: `age1...`."""

    recipients: tuple[str, ...]

    def __post_init__(self) -> None:
        """Raises UsageError for a text that is no public key, without repeating it, or for none at all."""
        if not self.recipients:
            raise UsageError("there is no recipient to encrypt for", remedy=_GET)
        self._keys()

    def _keys(self) -> list[Any]:
        import pyrage

        found = []
        for text in self.recipients:
            try:
                found.append(pyrage.x25519.Recipient.from_str(text))
            except pyrage.RecipientError:
                private = text.upper().startswith("AGE-SECRET-KEY-")
                what = "a private key" if private else f"{text[:12]}…, which is damaged or of another kind"
                raise UsageError(f"a recipient of `backup.encrypt` is {what}", remedy=_GET) from None
        return found

    def seal(self, plain: Pipe, sealed: Pipe) -> None:
        """Encrypt a stream. Errors of the two pipes come through as they are."""
        import pyrage

        reader, writer = _Wire(plain), _Wire(sealed)
        try:
            pyrage.encrypt_io(reader, writer, self._keys())
        except (pyrage.EncryptError, OSError) as error:
            _raise_from(reader, writer)
            raise OpsError(f"age could not encrypt: {error}", remedy="report this") from error
        writer.flush()


@dataclass(frozen=True)
class AgeOpener:
    """Decrypts with the private keys of identity files, read when the first is needed."""

    read: Callable[[], Sequence[str]] = field(repr=False)
    """The texts of the identity files that are here: keys, one a line, and comments. Raises OpsError."""
    wanted: str = "set OPS_AGE_IDENTITY to an identity file, or name one with --identity"

    def recipients(self) -> tuple[str, ...]:
        """Public keys of the identities that are here."""
        return tuple(str(key.to_public()) for key in self._keys())

    def require(self, recipients: Collection[str], what: str) -> None:
        """Raise IdentityMissing, which names the recipients, where no identity here is one of them."""
        here = self.recipients()
        if set(here) & set(recipients):
            return
        words = f"the identities here are of {', '.join(here)}" if here else "no identity is here"
        raise IdentityMissing(
            f"{what} is encrypted for {', '.join(recipients)}, and {words}",
            remedy=f"{self.wanted} that holds the private key of one of them",
        )

    def open(self, sealed: Pipe, plain: Pipe) -> None:
        """Decrypt a stream. Raises IdentityMissing, ChecksumMismatch where it was altered or cut off."""
        import pyrage

        reader, writer = _Wire(sealed), _Wire(plain)
        try:
            pyrage.decrypt_io(reader, writer, self._keys())
        except (pyrage.DecryptError, OSError) as error:
            _raise_from(reader, writer)
            if "No matching keys" in str(error):
                raise IdentityMissing("no identity here opens it", remedy=self.wanted) from None
            raise ChecksumMismatch(
                f"it cannot be opened: it was altered, cut off, or is not age's ({error})",
                remedy="verify the snapshot with --depth checksums; restore another one",
            ) from None
        writer.flush()

    def _keys(self) -> list[Any]:
        import pyrage

        lines = (line.strip() for text in self.read() for line in text.splitlines())
        found = []
        for line in lines:
            if not line or line.startswith("#"):
                continue
            try:
                found.append(pyrage.x25519.Identity.from_str(line))
            except pyrage.IdentityError:
                raise UsageError(
                    "an age identity is no private key (AGE-SECRET-KEY-1...)",
                    remedy=f"{self.wanted}, as `age-keygen` writes it",
                ) from None
        return found


class _Wire:
    """A pipe that remembers its error: pyrage turns every one into a text."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self.error: BaseException | None = None

    def read(self, size: int = -1, /) -> bytes:
        """The next piece."""
        return self._kept(lambda: self._pipe.read(size))

    def write(self, piece: bytes, /) -> int:
        """Write a piece."""
        return self._kept(lambda: self._pipe.write(piece))

    def flush(self) -> None:
        """Hand on what is buffered."""
        self._kept(self._pipe.flush)

    def _kept(self, work: Callable[[], _Key]) -> _Key:
        try:
            return work()
        except BaseException as error:
            self.error = error
            raise


def _raise_from(*wires: _Wire) -> None:
    for wire in wires:
        if wire.error is not None:
            raise wire.error
