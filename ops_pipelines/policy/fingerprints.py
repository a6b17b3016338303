"""Fingerprints of secrets: enough to tell whether a secret is still the one of then, and no more.

A value is never kept. Its fingerprint is scrypt (RFC 7914) of the value under a salt of the snapshot's own and
the secret's name, so that equal secrets look different, and whoever has the bucket works for each guess. The
costs stand beside it: a later version may raise them and still read these.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from ops_pipelines.errors import OpsError, SecretMissing
from ops_pipelines.policy.plan import Finding

COST, BLOCK, LANES = 2**14, 8, 5
"""scrypt's N, r and p, as OWASP's cheat sheet on password storage pairs them: 16 MiB and a fifth of a second for
each guess."""
SALT_BYTES = 16
_LENGTH = 32
_MOST_MEMORY = 1 << 28
_MOST_LANES = 16


@dataclass(frozen=True)
class Fingerprints:
    """Fingerprints of the secrets that the parts of one snapshot need."""

    salt: str
    """Of this snapshot alone, as hexadecimal digits."""
    values: Mapping[str, str] = field(default_factory=dict)
    """Fingerprint by the secret's name. One that could not be had at backup is in `references` only."""
    references: Mapping[str, str] = field(default_factory=dict)
    """Where each was found then, as the stack file writes it: `${NAME}` or `file:PATH`."""
    kdf: str = "scrypt"
    n: int = COST
    r: int = BLOCK
    p: int = LANES


class HasNeeds(Protocol):
    """A part, as far as its secrets go."""

    @property
    def key(self) -> str: ...
    @property
    def needs(self) -> Sequence[str]: ...
    @property
    def facts(self) -> Mapping[str, Any]: ...


def take(values: Mapping[str, str], references: Mapping[str, str], salt: bytes) -> Fingerprints:
    """Fingerprints of secrets by name. `salt` is random, at least SALT_BYTES long, and used once."""
    empty = Fingerprints(salt.hex(), references=dict(references))
    return Fingerprints(
        empty.salt, {name: _digest(empty, name, value) for name, value in values.items()}, empty.references
    )


def same(prints: Fingerprints, name: str, value: str) -> bool | None:
    """Whether a value is the one of then; None where no fingerprint of it was kept."""
    kept = prints.values.get(name)
    return None if kept is None else hmac.compare_digest(kept, _digest(prints, name, value))


def from_json(raw: Any) -> Fingerprints | None:
    """The fingerprints of a manifest. Raises ValueError for what is none, or would cost more than it may."""
    if raw is None:
        return None
    try:
        found = Fingerprints(**raw)
        bytes.fromhex(found.salt)
        cheap = 128 * found.n * found.r <= _MOST_MEMORY and 1 <= found.p <= _MOST_LANES
        sound = found.n > 1 and not found.n & (found.n - 1) and found.r > 0
        if not (cheap and sound and all(isinstance(one, str) for one in found.values.values())):
            raise ValueError("costs out of bounds")
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"its fingerprints of secrets are none: {error}") from error
    return found


def needed(parts: Sequence[HasNeeds]) -> dict[str, tuple[str, ...]]:
    """Keys of the parts by the name of the secret that they need. What older snapshots say in facts counts."""
    found: dict[str, tuple[str, ...]] = {}
    for part in parts:
        for name in dict.fromkeys((*part.needs, *part.facts.get("needs", ()))):
            found[name] = (*found.get(name, ()), part.key)
    return found


Values = Callable[[str, str | None], str]
"""The value of a secret now, by its name and its reference of then. Raises SecretMissing or another OpsError."""


def secret_findings(
    prints: Fingerprints | None, parts: Sequence[HasNeeds], value_of: Values, allowed: Collection[str] = ()
) -> tuple[Finding, ...]:
    """Each secret that the parts need against the one of then: right, wrong, missing, or not to be told.

    Wrong and missing ones are errors, but for those `allowed` by name: they are then warnings."""
    return tuple(
        _finding(prints or Fingerprints(""), name, keys, value_of, name in allowed)
        for name, keys in needed(parts).items()
    )


def _finding(
    prints: Fingerprints, name: str, keys: tuple[str, ...], value_of: Values, allowed: bool
) -> Finding:
    subject, readers = f"secret/{name}", ", ".join(keys)
    reference = prints.references.get(name)
    severity: Literal["error", "warning"] = "warning" if allowed else "error"
    knowingly = f"or go on knowingly with --allow-wrong-secret {name}"
    try:
        right = same(prints, name, value_of(name, reference))
    except SecretMissing as error:
        words = f"missing here ({error.message}); {readers} cannot be read without it"
        return Finding(subject, None, words, f"{error.remedy}; {knowingly}", severity)
    except OpsError as error:
        words = f"cannot be had here ({error.message}); {readers} cannot be read without it"
        return Finding(subject, None, words, f"{error.remedy}; {knowingly}", severity)
    if right is None:
        words = (
            f"is set; whether it is the one that {readers} was written with cannot be told: no fingerprint "
        )
        return Finding(subject, None, f"{words}was kept", "compare it by hand", "warning")
    if right:
        return Finding(subject, True, f"is the one of then; needed by {readers}")
    where = f" ({reference} then)" if reference else ""
    return Finding(
        subject, False, f"is another one than when the snapshot was taken{where}; {readers} cannot be read with it",
        f"set the value of that time; {knowingly}", severity,
    )  # fmt: skip


def _digest(prints: Fingerprints, name: str, value: str) -> str:
    if prints.kdf != "scrypt":
        return ""
    salt = bytes.fromhex(prints.salt) + name.encode()
    memory = 128 * prints.n * prints.r * 2 + (1 << 20)
    raw = hashlib.scrypt(
        value.encode(), salt=salt, n=prints.n, r=prints.r, p=prints.p, maxmem=memory, dklen=_LENGTH
    )
    return raw.hex()
