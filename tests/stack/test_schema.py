"""The published JSON Schema takes what the loader takes, and says no to plain mistakes."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # publishes no types

from ops_pipelines.errors import DeclarationError
from ops_pipelines.stack._merge import plain
from ops_pipelines.stack._yaml import parse
from ops_pipelines.stack.loader import load_stack
from ops_pipelines.stack.model import Stack
from ops_pipelines.stack.schema import stack_schema
from tests.stack.toy import Toy, load

SCHEMA = stack_schema(Toy)
REAL = stack_schema(Stack)
ENVIRON = {"N": "3", "WORD": "w"}


def _accepts(text: str, schema: dict[str, Any] = SCHEMA) -> bool:
    return bool(Draft202012Validator(schema).is_valid(plain(parse(text.encode(), "f").root)))


TAKEN = [
    "stack: t\n",
    "stack: t\nprofile: null\n",
    "stack: t\nretries: ${N}\nevery: ${EVERY:-10m}\n",
    "stack: t\ncomponents:\n  a:\n    kind: ollama\n    port: ${N}\n    gpu: ${GPU:-true}\n    models: [x]\n",
    "stack: t\nmode: ${MODE:-auto}\nsecrets: {a: '${A}', b: 'file:b'}\n",
    "profile: p\nprofiles:\n  p:\n    stack: t\n    components:\n      c:\n        port: 1\n  q: null\n"
    "components:\n  c: {kind: redis}\n",
    "stack: t\nprofile: p\nprofiles: {o: {retries: 1}, p: {extends: o}}\n",
    "stack: t\nretries: 1\nprofile: p\nprofiles: {p: {retries: null, collections: [x, {name: y}]}}\n",
    "stack: t\nevery: 30\ncollections: [{name: a, share: 2}, b]\nretries: null\n",
]


@pytest.mark.parametrize("text", TAKEN)
def test_what_the_loader_takes_the_schema_takes(text: str, tmp_path: Path) -> None:
    load(tmp_path / "stack.yaml", text, ENVIRON)
    assert _accepts(text), list(
        Draft202012Validator(SCHEMA).iter_errors(plain(parse(text.encode(), "f").root))
    )


def test_a_file_with_an_include_may_leave_out_what_is_required(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("stack: t\ncomponents: {a: {kind: redis, port: 1}}\n")
    text = "include: [base.yaml]\ncomponents: {a: {port: 2}}\n"
    load(tmp_path / "stack.yaml", text)
    assert _accepts(text)
    assert not _accepts(text.replace("include: [base.yaml]", ""))


@pytest.mark.parametrize(
    "text",
    [
        "retries: 1\n",
        "stack: t\nbad: 1\n",
        "stack: t\nretries: many\n",
        "stack: t\nmode: observ\n",
        "stack: t\nsecrets: {a: hunter2}\n",
        "stack: t\nsecrets: {a: '${A:-hunter2}'}\n",
        "stack: t\ncomponents: {a: {kind: redis}}\n",
        "stack: t\ncomponents: {a: {kind: olama}}\n",
        "stack: t\ncomponents: {a: {kind: redis, port: 1, gpu: true}}\n",
        "stack: t\nregion: null\n",
        "stack: t\nprofiles: {p: {bad: 1}}\n",
        "stack: t\nprofiles: {p: {extends: [q]}}\n",
        "stack: t\nextends: q\n",
        "stack: t\nprofiles: {p: {retries: many}}\n",
        "stack: t\nprofiles: {p: {components: {a: {prt: 1}}}}\n",
        "stack: t\nprofiles: {p: {collections: [{share: 1}]}}\n",
        "stack: t\nprofiles: {p: {profiles: {}}}\n",
        "stack: t\ninclude: 5\n",
        "include: [x]\nbad: 1\n",
    ],
)
def test_plain_mistakes_are_refused(text: str) -> None:
    assert not _accepts(text)


def test_the_schema_is_a_schema_and_closed_throughout() -> None:
    for schema in (SCHEMA, REAL):
        Draft202012Validator.check_schema(schema)
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        assert "$id" not in schema
        for each in (schema, *schema["$defs"].values()):
            if "properties" in each:
                assert each["additionalProperties"] is False, each
        references = set(re.findall(r'"#/\$defs/([^"]+)"', json.dumps(schema)))
        assert references <= set(schema["$defs"])


def test_an_editor_is_told_about_every_key() -> None:
    assert REAL["title"] == "Stack"
    assert REAL["description"]
    assert {"include", "profile", "profiles", *Stack.model_fields} == set(REAL["properties"])
    assert "Who is asked when it breaks" in json.dumps(REAL["properties"]["owners"])


# --- whatever is declared -------------------------------------------------------------------------------

_word = st.sampled_from(["a", "b-1", "x", "", "yes", "${WORD}", "${N}", "${GONE}", "${GONE:-1}", "12"])
_value = st.one_of(_word, st.integers(-2, 70000), st.booleans(), st.none(), st.floats(0, 2))
_component = st.fixed_dictionaries(
    {"kind": st.sampled_from(["ollama", "redis", "other"])},
    optional={
        "port": _value,
        "gpu": _value,
        "models": st.lists(_word, max_size=2) | _value,
        "password": _value,
    },
)
_body = st.fixed_dictionaries(
    {},
    optional={
        "mode": st.sampled_from(["observe", "auto", "no", "${WORD}"]) | _value,
        "components": st.dictionaries(st.sampled_from(["a", "b"]), _component, max_size=2),
        "collections": st.lists(
            st.fixed_dictionaries({"name": _word}, optional={"share": _value}) | _value, max_size=2
        ),
        "environment": st.dictionaries(_word, _value, max_size=2),
        "secrets": st.dictionaries(st.just("s"), st.sampled_from(["${A}", "file:a", "x"]), max_size=1),
        "every": st.sampled_from(["10m", "5 m", "${EVERY:-3s}", 4, "${N}"]),
        "retries": _value,
        "region": _value,
    },
)
_files = st.builds(
    lambda body, profile, named: {
        **({"stack": "t"} if named else {}), **body, **({"profiles": {"p": profile}, "profile": "p"} if profile else {})
    },
    _body, _body | st.none(), st.sampled_from([True, True, True, False]),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(declared=_files)
def test_whatever_the_loader_takes_the_schema_takes(declared: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stack.yaml"
        # The schema sees all of a file, the loader what is in force: here, the base and then its profile.
        for part in ({key: declared[key] for key in declared if not key.startswith("profile")}, declared):
            path.write_text(yaml.safe_dump(part))
            try:
                load_stack(path, environ=ENVIRON, model=Toy)
            except DeclarationError:
                return
    assert not list(Draft202012Validator(SCHEMA).iter_errors(declared))
