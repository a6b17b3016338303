"""Encryption of one stack's snapshots: for whom, and which private keys are here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from ops_pipelines.adapters.age import AgeOpener, AgeSealer
from ops_pipelines.engines._blobs import stored_sizes
from ops_pipelines.engines.parts.bucket import BucketSource
from ops_pipelines.engines.parts.encrypted import EncryptedSource, EncryptedTarget
from ops_pipelines.engines.parts.secrets import SecretsSource
from ops_pipelines.engines.ports import PartSource, PartTarget
from ops_pipelines.engines.snapshots import newest_manifest
from ops_pipelines.errors import IdentityMissing, UsageError
from ops_pipelines.policy.manifest import Manifest, Part
from ops_pipelines.settings import Settings
from ops_pipelines.stack.safeguards import Encrypt
from ops_pipelines.wiring.connect import backup_of, layout, object_store, secret
from ops_pipelines.wiring.site import Site


def encrypted(site: Site, sources: Sequence[PartSource]) -> list[PartSource]:
    """The same parts, those that `backup.encrypt` covers encrypted, and the secrets where it asks for them.

    Raises UsageError for a recipient that is none, SecretMissing for a value that is asked for and not here."""
    declared = backup_of(site).encrypt
    if declared is None:
        return list(sources)
    sealer = AgeSealer(recipients(site, declared))
    before = _Before(site)
    stored = partial(stored_sizes, object_store(site), layout(site))

    def sealed(one: PartSource) -> PartSource:
        if isinstance(one, BucketSource):  # it stores its objects while it reads them
            return replace(one, sealer=sealer)
        return EncryptedSource(one, sealer, before.part, stored)

    found = [sealed(one) if declared.covers(one.kind, one.name) else one for one in sources]
    if names := _kept_secrets(site, declared):
        values = {name: secret(site, name) or "" for name in names}
        references = {name: str(site.stack.secrets[name]) for name in names}
        source = SecretsSource(site.name, values, references)
        found.append(EncryptedSource(source, sealer, before.part, stored))
    return found


def opened_target(site: Site, part: Part, target: PartTarget) -> PartTarget:
    """The same target, which opens what is encrypted."""
    return EncryptedTarget(target, opener(site)) if part.recipients else target


def opener(site: Site) -> AgeOpener:
    """The private keys that are here: of `OPS_AGE_IDENTITY`, and of the stack's `backup.encrypt.identity`."""

    def read() -> list[str]:
        found = identity_texts(site.settings)
        declared = site.stack.backup.encrypt if site.stack.backup else None
        if declared is not None and declared.identity is not None and not found:
            found.append(secret(site, declared.identity) or "")
        return found

    return AgeOpener(read)


def identity_texts(settings: Settings) -> list[str]:
    """Text of the identity file of the settings, or nothing. Raises UsageError where it cannot be read."""
    path = settings.age_identity
    if path is None:
        return []
    try:
        return [path.read_text(encoding="utf-8")]
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(
            f"the age identity file {path} cannot be read: {why}",
            remedy="set OPS_AGE_IDENTITY, or --identity, to the file that `age-keygen` wrote",
        ) from None


def unopened(opener: AgeOpener, parts: Sequence[Part]) -> tuple[str, ...]:
    """What is missing to open each of the parts, in words; nothing where all of them can be."""
    found = []
    for part in parts:
        if part.recipients:
            try:
                opener.require(part.recipients, part.key)
            except (IdentityMissing, UsageError) as error:
                found.append(f"{error.message}; {error.remedy}")
    return tuple(found)


def recipients(site: Site, declared: Encrypt) -> tuple[str, ...]:
    """Public keys that a stack encrypts for. Raises UsageError for a file that cannot be read."""
    found: list[str] = []
    for word in declared.recipients:
        if not word.startswith("file:"):
            found.append(word)
            continue
        path = site.folder / word.removeprefix("file:").strip()
        try:
            lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"the file of recipients {path} cannot be read: {error}",
                remedy="correct `backup.encrypt.recipients`",
            ) from None
        found += [line for line in lines if line and not line.startswith("#")]
    return tuple(dict.fromkeys(found))


def _kept_secrets(site: Site, declared: Encrypt) -> list[str]:
    """Names of the secrets whose values go in. The private key never does: it would open its own lock."""
    names = declared.secrets if isinstance(declared.secrets, list) else list(site.stack.secrets)
    return [name for name in names if name != declared.identity] if declared.secrets else []


class _Before:
    """The newest snapshot, read when the first part asks for it."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._manifest: Manifest | None = None
        self._asked = False

    def part(self, key: str) -> Part | None:
        """Its part of that key."""
        if not self._asked:
            self._asked = True
            self._manifest = newest_manifest(object_store(self._site), layout(self._site), self._site.name)
        return self._manifest.part(key) if self._manifest else None
