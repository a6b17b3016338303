"""Fingerprints of secrets: what they tell, and what they must not."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from ops_pipelines.errors import SecretMissing, SnapshotDamaged, UsageError
from ops_pipelines.policy import fingerprints
from ops_pipelines.policy.fingerprints import Fingerprints, secret_findings
from ops_pipelines.policy.manifest import FileEntry, HookRun, Manifest, Part, Plain, decode, encode

SALT = b"0123456789abcdef"
PART = Part("database", "litellm", (), needs=("salt-key",))


def taken(value: str = "sk-salt-1", name: str = "salt-key") -> Fingerprints:
    return fingerprints.take({name: value}, {name: "${SALT_KEY}"}, SALT)


def test_it_tells_the_same_value_from_another_one() -> None:
    prints = taken()
    assert fingerprints.same(prints, "salt-key", "sk-salt-1") is True
    assert fingerprints.same(prints, "salt-key", "sk-salt-2") is False
    assert fingerprints.same(prints, "other", "sk-salt-1") is None


def test_it_differs_by_salt_and_by_name() -> None:
    both = fingerprints.take({"a": "x", "b": "x"}, {}, SALT)
    other = fingerprints.take({"a": "x"}, {}, SALT[::-1])
    assert len({both.values["a"], both.values["b"], other.values["a"]}) == 3


def test_it_is_scrypt_as_its_specification_computes_it() -> None:
    # RFC 7914, section 12, second vector: N=1024, r=8, p=16, "password", "NaCl" (the first 32 bytes).
    prints = Fingerprints(b"Na".hex(), n=1024, r=8, p=16)
    known = "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"
    assert fingerprints.same(replace(prints, values={"Cl": known}), "Cl", "password") is True


@pytest.mark.parametrize(
    ("ask", "prints", "ok", "severity", "words"),
    [
        ("sk-salt-1", taken(), True, "error", "is the one of then"),
        ("sk-salt-2", taken(), False, "error", "is another one"),
        (SecretMissing("SALT_KEY is not set", remedy="set it"), taken(), None, "error", "SALT_KEY"),
        (UsageError("not declared", remedy=""), taken(), None, "error", "cannot be had"),
        ("sk-salt-1", None, None, "warning", "no fingerprint"),
    ],
)  # fmt: skip
def test_each_state_is_told(
    ask: str | Exception, prints: Fingerprints | None, ok: bool | None, severity: str, words: str
) -> None:
    def value(name: str, reference: str | None) -> str:
        assert (name, reference) == ("salt-key", "${SALT_KEY}" if prints else None)
        if isinstance(ask, Exception):
            raise ask
        return ask

    [found] = secret_findings(prints, [PART], value)
    assert (found.ok, found.severity) == (ok, severity)
    assert words in found.message
    assert "database/litellm" in found.message
    assert "sk-salt" not in str(found)


def test_an_allowed_one_is_only_a_warning() -> None:
    [found] = secret_findings(taken(), [PART], lambda name, ref: "other", ["salt-key"])
    assert (found.ok, found.severity) == (False, "warning")


def test_a_snapshot_of_an_older_version_names_its_needs_in_facts() -> None:
    old = Part("database", "x", (), facts={"needs": ["salt-key"]})
    assert fingerprints.needed([old, PART]) == {"salt-key": ("database/x", "database/litellm")}


def test_a_manifest_keeps_it_and_the_rest() -> None:
    entry = FileEntry("a", 3, "0" * 64, plain=Plain(2, "1" * 64))
    clear = FileEntry("b", 3, "2" * 64)
    run = HookRun("before", "stop", "2026-11-21T02:00:00+00:00", 0.1, ok=True)
    part = replace(PART, files=(entry, clear), recipients=("age1x",), hooks=(run,))
    whole = Manifest("s", "chat", "2026-11-21T02:00:00+00:00", (part,), secrets=taken(), hooks=(run,))
    assert decode(encode(whole), where="here") == whole
    assert part.opened.files == (FileEntry("a", 2, "1" * 64), clear)
    assert b'"plain":null' not in encode(whole)


@pytest.mark.parametrize(
    "change",
    [{"n": 2**30}, {"n": 1000}, {"p": 1000}, {"salt": "zz"}, {"r": 0}, {"values": {"a": 1}}, {"x": 1}],
)
def test_a_manifest_may_not_ask_for_more_work_than_is_sane(change: dict[str, object]) -> None:
    whole = Manifest("s", "chat", "2026-11-21T02:00:00+00:00", (), secrets=taken())
    raw = encode(whole).replace(encode_part(asdict(taken())), encode_part({**asdict(taken()), **change}))
    with pytest.raises(SnapshotDamaged, match="fingerprints"):
        decode(raw, where="here")


def encode_part(raw: dict[str, object]) -> bytes:
    import json

    return json.dumps(raw, sort_keys=True, separators=(",", ":")).encode()
