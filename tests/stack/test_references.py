"""References to secrets: their forms, and the values they lead to."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from ops_pipelines.errors import SecretMissing
from ops_pipelines.stack.loader import load_stack
from ops_pipelines.stack.references import SecretRef, exposed, resolve

VALUE = "hunter2"


@pytest.mark.parametrize(
    ("text", "described"),
    [
        ("${A_1}", "environment variable A_1"),
        ("file:/run/a", "file /run/a"),
        ("file:a b", "file a b"),
    ],
)
def test_a_reference_is_what_it_spells(text: str, described: str) -> None:
    ref = TypeAdapter(SecretRef).validate_python(text)
    assert ref.describe() == described
    assert str(ref) == text
    assert repr(ref) == f"SecretRef('{text}')"
    assert TypeAdapter(SecretRef).dump_python(ref, mode="json") == text
    assert TypeAdapter(SecretRef).validate_python(ref) is ref


@pytest.mark.parametrize(
    "text", [VALUE, "", "${A", "${1}", "${A:-hunter2}", "file:", "file: ", "x${A}", "${A}\n"]
)
def test_a_value_is_no_reference_and_is_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="a secret is referred to as") as caught:
        SecretRef.parse(text)
    assert VALUE not in str(caught.value)


def test_a_model_takes_references_only() -> None:
    class Model(BaseModel):
        a: SecretRef

    assert Model.model_validate_json('{"a": "${A}"}', strict=True).a == SecretRef("environment", "A")
    with pytest.raises(ValidationError):
        Model.model_validate({"a": 5})


def test_a_variable_is_resolved_and_hidden() -> None:
    value = resolve(SecretRef.parse("${A}"), {"A": VALUE}, Path())
    assert value.get_secret_value() == VALUE
    assert VALUE not in repr(value)


@pytest.mark.parametrize(
    ("content", "value"), [("v\n", "v"), ("v\r\n", "v"), ("v\n\n", "v\n"), (" v ", " v ")]
)
def test_a_file_is_resolved_from_the_stack_s_folder(content: str, value: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(content.encode())
    for ref in ("file:token", f"file:{tmp_path}/token"):
        assert resolve(SecretRef.parse(ref), {}, tmp_path).get_secret_value() == value


@pytest.mark.parametrize(
    ("ref", "message", "remedy"),
    [
        ("${A}", "environment variable A is not set", "set A"),
        ("${EMPTY}", "environment variable EMPTY is empty", "set EMPTY"),
        ("file:gone", "gone is missing", "write the secret into it"),
        ("file:empty", "empty is empty", "write the secret into it"),
        ("file:line", "line is empty", "write the secret into it"),
        ("file:binary", "binary is not text", "write the secret as UTF-8"),
        ("file:.", "cannot be read (Is a directory)", "let the user that runs this read it"),
    ],
)
def test_a_secret_that_is_missing_says_what_is_to_be_set(
    ref: str, message: str, remedy: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "line").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff")
    with pytest.raises(SecretMissing) as caught:
        resolve(SecretRef.parse(ref), {"EMPTY": ""}, tmp_path)
    assert message in caught.value.message
    assert caught.value.remedy.startswith(remedy)
    assert caught.value.__cause__ is None


def test_a_file_that_everybody_can_read_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(VALUE)
    file.chmod(0o644)
    warning = exposed(SecretRef.parse("file:token"), tmp_path)
    assert warning is not None
    assert warning.severity == "warning"
    assert warning.remedy == f"chmod 600 {file}"
    file.chmod(0o640)
    assert exposed(SecretRef.parse("file:token"), tmp_path) is None
    assert exposed(SecretRef.parse("file:gone"), tmp_path) is None
    assert exposed(SecretRef.parse("${A}"), tmp_path) is None


def test_how_long_a_secret_must_be_is_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "stack.yaml"
    path.write_text(
        "stack: a\ndescription: A.\nowners: [team:a]\ntarget: {kind: process}\n"
        "secrets: {session-secret: '${S}'}\nsecret_lengths: {session-secret: 32}\n"
    )
    assert load_stack(path, environ={}).stack.secret_lengths == {"session-secret": 32}
