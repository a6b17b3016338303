"""Secrets that parts cannot be read without: their fingerprints at backup, the comparison before a restore."""

from __future__ import annotations

import secrets as randomness
from collections.abc import Collection, Sequence

import structlog

from ops_pipelines.errors import OpsError, SecretMismatch
from ops_pipelines.policy import fingerprints
from ops_pipelines.policy.fingerprints import SALT_BYTES, Fingerprints, needed, secret_findings
from ops_pipelines.policy.manifest import Manifest, Part
from ops_pipelines.policy.plan import Finding, failed
from ops_pipelines.wiring.connect import secret
from ops_pipelines.wiring.hooks import part_options
from ops_pipelines.wiring.site import Site

log = structlog.get_logger()


def needs(site: Site) -> dict[str, tuple[str, ...]]:
    """Names of the secrets that each part needs, by part key."""
    return {key: tuple(one.needs) for key, one in part_options(site.stack).items() if one.needs}


def prints(site: Site) -> Fingerprints | None:
    """Fingerprints of all secrets that parts need, under a new salt; None where none is needed.

    One that is not set here has its reference kept only: the backup is worth more than its fingerprint."""
    names = dict.fromkeys(name for words in needs(site).values() for name in words)
    if not names:
        return None
    values: dict[str, str] = {}
    for name in names:
        try:
            values[name] = secret(site, name) or ""
        except OpsError as error:
            log.warning("fingerprint.not_kept", stack_name=site.name, secret=name, error=error.message)
    references = {name: str(site.stack.secrets[name]) for name in names if name in site.stack.secrets}
    return fingerprints.take(values, references, randomness.token_bytes(SALT_BYTES))


def not_kept(manifest: Manifest) -> tuple[Finding, ...]:
    """Needed secrets of which a snapshot keeps no fingerprint: no restore will be able to compare them."""
    kept = manifest.secrets.values if manifest.secrets else {}
    return tuple(
        Finding(
            f"secret/{name}",
            None,
            f"no fingerprint of it was kept, so no restore of {', '.join(keys)} can tell whether it is the right one",
            "set it where the backup runs, and take another",
            "warning",
        )
        for name, keys in needed(manifest.parts).items()
        if name not in kept
    )


def check(
    site: Site, manifest: Manifest, parts: Sequence[Part], allowed: Collection[str] = ()
) -> tuple[Finding, ...]:
    """The secrets that `parts` need, as they are here, against those of the snapshot."""

    def value(name: str, reference: str | None) -> str:
        del reference  # what the stack file says now is what will be used
        return secret(site, name) or ""

    return secret_findings(manifest.secrets, parts, value, allowed)


def require(findings: Sequence[Finding]) -> None:
    """Raise SecretMismatch that tells every secret that is wrong or missing; what is only doubtful is logged."""
    bad = [one for one in failed(list(findings)) if one.severity == "error"]
    if bad:
        words = "\n".join(f"  {one.subject.partition('/')[2]}: {one.message}" for one in bad)
        raise SecretMismatch(
            f"secrets are not those that the snapshot was taken with; nothing was changed:\n{words}",
            remedy=bad[0].remedy,
        )


def warnings(findings: Sequence[Finding]) -> tuple[str, ...]:
    """What a plan tells of secrets that are not right."""
    return tuple(f"{one.subject}: {one.message}; {one.remedy}" for one in failed(list(findings)))
