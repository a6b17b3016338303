"""Secrets in files: found by every spelling that leaks them, and plain words left alone."""

from __future__ import annotations

import base64

import pytest

from ops_pipelines.policy.secret_scan import Leak, find_secrets

LONG = 'sk-9f8e7d6c5b4a/+x="y'
PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEF\nAASCBKcwggSjAgEAAoIBAQC7\n-----END PRIVATE KEY-----\n"

FOUND = [
    ("as it is", f"a: 1\nkey: {LONG}\n", LONG, 2),
    ("inside other text", f"# was xx{LONG}xx once", LONG, 1),
    ("escaped in JSON", 'key: "sk-9f8e7d6c5b4a/+x=\\"y"', LONG, 1),
    ("quoted in a URL", "\n\nurl: http://u:sk-9f8e7d6c5b4a%2F%2Bx%3D%22y@h/", LONG, 3),
    ("as base64", f"data:\n  key: {base64.b64encode(LONG.encode()).decode()}\n", LONG, 2),
    ("a key of several lines, indented", "k: |\n  AASCBKcwggSjAgEAAoIBAQC7\n", PEM, 2),
    ("a plain word as a password", "kind: postgres\npassword: postgres\n", "postgres", 2),
    ("a plain word, quoted", "{'DB_PASSWORD': 'postgres'}", "postgres", 1),
    ("a plain word in an environment file", "A=1\nPOSTGRES_PASSWORD=postgres\n", "postgres", 2),
    ("a plain word in a URL", "url: postgresql://postgres:postgres@db/x", "postgres", 1),
    ("a short key", "salt_key: abc-1\n", "abc-1", 1),
]
LEFT = [
    ("a reference", "password: ${PASSWORD}\n", LONG),
    ("a plain word as a kind", "kind: postgres\n", "postgres"),
    ("a plain word as a user", "url: postgresql://postgres@db/postgres\nuser: postgres\n", "postgres"),
    ("a plain word as the name of a secret", "password: postgres-password\n", "postgres"),
    ("the armour of a key", "-----BEGIN PRIVATE KEY-----\nsomething else\n", PEM),
    ("an empty secret", "password: \n", ""),
]


@pytest.mark.parametrize(("text", "value", "line"), [row[1:] for row in FOUND], ids=[row[0] for row in FOUND])
def test_a_value_is_found_with_its_line(text: str, value: str, line: int) -> None:
    assert find_secrets(text.encode(), {"the-key": value}) == (Leak("the-key", line),)


@pytest.mark.parametrize(("text", "value"), [row[1:] for row in LEFT], ids=[row[0] for row in LEFT])
def test_what_is_no_value_is_left_alone(text: str, value: str) -> None:
    assert find_secrets(text.encode(), {"the-key": value}) == ()
