"""`${NAME}` in declarations, and secrets that stand where they may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops_pipelines.stack.references import fill
from tests.stack.toy import Toy, load, problems, told

HEAD = "stack: t\n"
VALUE = "hunter2-9f8e7d"


FILLED = {
    "${A}": "1", "${EMPTY}": "", "${NONE:-x}": "x", "${EMPTY:-x}": "x", "${A:-x}": "1", "${NONE:-}": "",
    "a-${A}-${A}": "a-1-1", "$${A}": "${A}", "$A": "$A", "$$A": "$$A", "${NONE:-a:-b c}": "a:-b c", "{A}": "{A}",
}  # fmt: skip


@pytest.mark.parametrize("text", FILLED)
def test_variables_are_filled_in(text: str) -> None:
    assert fill(text, {"A": "1", "EMPTY": ""}) == (FILLED[text], ())


def test_whole_plain_values_are_typed_and_quoted_ones_stay_texts(tmp_path: Path) -> None:
    text = HEAD + (
        "retries: ${N}\ncomponents:\n  llm:\n    kind: ${KIND:-ollama}\n    port: ${PORT:-80}\n    gpu: ${GPU}\n"
        'environment:\n  A: "${N}"\n  B: n${N}\nevery: ${EVERY:-10m}\n'
    )
    stack = load(tmp_path / "stack.yaml", text, {"N": "3", "GPU": "true"}).stack
    assert stack.model_dump() == {
        **Toy(stack="t").model_dump(),
        "retries": 3,
        "components": {"llm": {"kind": "ollama", "port": 80, "gpu": True, "models": ()}},
        "environment": {"A": "3", "B": "n3"},
        "every": 600.0,
    }


def test_secrets_stay_references(tmp_path: Path) -> None:
    text = HEAD + "secrets:\n  a: ${TOKEN}\n  b: file:/run/secrets/b\n"
    loaded = load(tmp_path / "stack.yaml", text, {"TOKEN": VALUE})
    assert loaded.stack.model_dump(mode="json")["secrets"] == {"a": "${TOKEN}", "b": "file:/run/secrets/b"}
    assert VALUE not in repr(loaded)
    assert loaded.digest == load(tmp_path / "stack.yaml", text, {"TOKEN": "another"}).digest


LEAKS = {
    "literal": (f"secrets:\n  a: {VALUE}\n", "3:6: secrets.a: a literal value (not shown)"),
    "number": ("secrets:\n  a: 12345678\n", "3:6: secrets.a: a literal value (not shown)"),
    "default": (
        f"secrets:\n  a: ${{X:-{VALUE}}}\n",
        "3:6: secrets.a: a reference with a default (not shown)",
    ),
    "file without a path": ("secrets:\n  a: 'file:'\n", "3:6: secrets.a: a literal value (not shown)"),
    "nothing": ("secrets:\n  a:\n", "3:5: secrets.a: nothing; it refers to no secret"),
    "all of it": (f"secrets: {VALUE}\n", "2:10: secrets: a literal value (not shown)"),
    "password": (
        f"environment:\n  password: {VALUE}\n",
        "3:13: environment.password: a literal value (not shown)",
    ),
    "digits": (
        "environment:\n  password: 12345678\n",
        "3:13: environment.password: a literal value (not shown)",
    ),
    "upper case": (f"environment:\n  PGPASSWORD: {VALUE}\n", "3:15: environment.PGPASSWORD: a literal value"),
    "key": (
        f"environment:\n  OPENAI_API_KEY: {VALUE}\n",
        "3:19: environment.OPENAI_API_KEY: a literal value",
    ),
    "camel case": (
        f"environment:\n  clientSecret: {VALUE}\n",
        "3:17: environment.clientSecret: a literal value",
    ),
    "token": (
        f"environment:\n  HF_TOKEN: {VALUE}\n",
        "3:13: environment.HF_TOKEN: a literal value (not shown)",
    ),
    "from the environment": (
        "environment:\n  HF_TOKEN: ${TOKEN}\n",
        "3:13: environment.HF_TOKEN: a secret that is filled in from the environment",
    ),
    "named secret that is not declared": (
        f"components:\n  r: {{kind: redis, port: 1, password: {VALUE}}}\nsecrets: {{pg: '${{PG}}'}}\n",
        "3:39: components.r.password: a literal value (not shown); whoever reads the file has the secret; "
        "name a secret that `secrets:` declares (known here: pg)",
    ),
    "URL": (f"region: postgres://u:{VALUE}@db/x\n", "2:9: region: a URL with a password in it (not shown)"),
    "URL filled in": (
        "region: redis://:${TOKEN}@db/x\n",
        "2:9: region: a URL with a password in it (not shown)",
    ),
    "option": (f"collections: ['--api-key={VALUE}']\n", "2:15: collections.0: a literal value (not shown)"),
    "assignment": (f"collections: ['A_TOKEN={VALUE}']\n", "2:15: collections.0: a literal value (not shown)"),
    "argument": (f"collections: [--api-key, {VALUE}]\n", "2:26: collections.1: a literal value (not shown)"),
    "key of a known make": (
        f"region: sk-{VALUE * 2}\n",
        "2:9: region: a text that is a key or token (not shown)",
    ),
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_secret_in_the_file_is_told_and_never_shown(name: str, tmp_path: Path) -> None:
    text, start = LEAKS[name]
    found = told(tmp_path / "stack.yaml", HEAD + text, {"TOKEN": VALUE})
    assert len(found) == 1, found
    assert found[0].startswith(f"stack.yaml:{start}"), found[0]
    assert VALUE not in found[0]
    assert "12345678" not in found[0]


@pytest.mark.parametrize(
    "line",
    [
        "environment: {max_tokens: '4', EOS_TOKEN: </s>, COST_PER_TOKEN: '0.1', TOKENIZER: x, IMAGE_PULL_SECRET: s}",
        "environment: {API_KEY: os.environ/API_KEY, PASSWORD: $PASSWORD, TOKEN: '', A_SECRET: '{port.http}'}",
        "environment: {API_KEY: none, B_API_KEY: EMPTY, C_API_KEY: '$${KEY}', PASSWORD_FILE: /run/x}",
        "secrets: {pg: '${PG}'}\ncomponents:\n  r: {kind: redis, port: 1, password: pg}",
        "components:\n  r: {kind: redis, port: 1, password: null}",
        "collections: [--api-key, $KEY, --api-key, --verbose, '--token={port.http}', a=b]",
        "region: https://host:8080/a@b",
    ],
)
def test_what_only_looks_like_a_secret_is_let_through(line: str, tmp_path: Path) -> None:
    assert told(tmp_path / "stack.yaml", f"{HEAD}{line}\n") == []


SHY = {
    "a validator that repeats its value": ("region: ${MOON}\n", {"MOON": f"moon{VALUE}"}),
    "a URL": (f"mode: slack://{VALUE}/x\n", {}),
    "a long key": (f"mode: {VALUE}0123456789abcdef\n", {}),
    "a type": ("components: ${X}\n", {"X": VALUE}),
}


@pytest.mark.parametrize("name", SHY)
def test_values_that_may_be_secret_are_never_echoed(name: str, tmp_path: Path) -> None:
    text, environ = SHY[name]
    found = problems(tmp_path / "stack.yaml", HEAD + text, environ)
    assert len(found) == 1
    assert VALUE not in str(found[0])


def test_no_value_hides_in_the_exception(tmp_path: Path) -> None:
    from ops_pipelines.errors import DeclarationError

    with pytest.raises(DeclarationError) as caught:
        load(tmp_path / "stack.yaml", HEAD + "retries: ${X}\n", {"X": VALUE})
    assert VALUE not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None, "pydantic's error holds the input"
