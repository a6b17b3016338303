"""`${NAME}` in declarations, and references to secrets.

A declaration never holds a secret. Under `secrets:` stand references, which are read only when something
needs the value; anywhere else a secret is meant by its name there. `${NAME}` in any other text is filled
in from the environment while the file is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import GetCoreSchemaHandler, SecretStr
from pydantic_core import CoreSchema, core_schema

from ops_pipelines.errors import SecretMissing
from ops_pipelines.stack._merge import Entry, Items, Node, Scalar, Table
from ops_pipelines.stack._problems import Problem, hidden, names_secret, or_known
from ops_pipelines.stack._yaml import typed

REFERENCE = r"^(\$\{[A-Za-z_][A-Za-z0-9_]*\}|file:.+)$"
_ENVIRONMENT = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_FORMS = "`${NAME}` or `file:PATH`"


@dataclass(frozen=True)
class SecretRef:
    """Where the value of a secret is to be found: `${NAME}` or `file:PATH`. It never holds the value."""

    kind: Literal["environment", "file"]
    target: str
    """Name of the variable, or path of the file."""

    @classmethod
    def parse(cls, text: str) -> SecretRef:
        """The reference that a text spells. Raises ValueError, which does not repeat the text."""
        variable = _ENVIRONMENT.fullmatch(text)
        if variable:
            return cls("environment", variable[1])
        if text.startswith("file:") and text[5:].strip():
            return cls("file", text[5:].strip())
        raise ValueError(f"a secret is referred to as {_FORMS}; its value may not stand in the file")

    def __str__(self) -> str:
        return f"${{{self.target}}}" if self.kind == "environment" else f"file:{self.target}"

    def __repr__(self) -> str:
        return f"SecretRef({str(self)!r})"

    def describe(self) -> str:
        """The reference in words: `environment variable NAME` or `file PATH`."""
        return f"{'environment variable' if self.kind == 'environment' else 'file'} {self.target}"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A text on the way in and out, and a ready reference as it is."""
        from_text = core_schema.no_info_after_validator_function(
            cls.parse, core_schema.str_schema(), metadata={"pydantic_js_updates": {"pattern": REFERENCE}}
        )
        return core_schema.json_or_python_schema(
            json_schema=from_text,
            python_schema=core_schema.union_schema([core_schema.is_instance_schema(cls), from_text]),
            serialization=core_schema.to_string_ser_schema(),
        )


def resolve(ref: SecretRef, environ: Mapping[str, str], base_dir: Path) -> SecretStr:
    """The value of a secret. `base_dir` is the folder of the stack file. Raises SecretMissing."""
    if ref.kind == "environment":
        if not environ.get(ref.target):
            state = "is empty" if ref.target in environ else "is not set"
            raise SecretMissing(
                f"{ref.describe()} {state}", remedy=f"set {ref.target}, or change the reference"
            )
        return SecretStr(environ[ref.target])
    path = base_dir / ref.target
    try:
        # An editor's or `echo`'s line end is no part of a secret.
        value = path.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except FileNotFoundError:
        raise SecretMissing(
            f"file {path} is missing", remedy="write the secret into it, with mode 0600"
        ) from None
    except UnicodeDecodeError:
        raise SecretMissing(f"file {path} is not text", remedy="write the secret as UTF-8") from None
    except OSError as error:
        remedy = "let the user that runs this read it"
        raise SecretMissing(f"file {path} cannot be read ({error.strerror})", remedy=remedy) from None
    if not value:
        raise SecretMissing(f"file {path} is empty", remedy="write the secret into it")
    return SecretStr(value)


def exposed(ref: SecretRef, base_dir: Path) -> Problem | None:
    """A warning where the file of a secret can be read by every user of the machine."""
    path = base_dir / ref.target
    if ref.kind != "file" or not path.is_file() or not path.stat().st_mode & 0o004:
        return None
    found, breaks = "a secret that every user of this machine can read", "it is no secret"
    return Problem(str(path), 1, 1, "", found, breaks, f"chmod 600 {path}", "warning")


# --- `${NAME}` ------------------------------------------------------------------------------------------

_WORD = re.compile(r"\$\$\{[^}]*\}|\$\{([^}]*)\}|\$\{")
_NAMED = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)


class Filled(NamedTuple):
    """A text with its variables filled in, and (found, breaks, remedy) for each that could not be."""

    text: str
    mistakes: tuple[tuple[str, str, str], ...]


def fill(text: str, environ: Mapping[str, str]) -> Filled:
    """`${NAME}`, `${NAME:-default}` (also where NAME is empty) and `$${literal}` in a text."""
    mistakes: list[tuple[str, str, str]] = []

    def value(match: re.Match[str]) -> str:
        written = match[0]
        if written.startswith("$$"):
            return written[1:]
        named = _NAMED.fullmatch(match[1] or "")
        if named is None or "${" in (named[2] or ""):
            mistakes.append(
                (f"`{written}`, which names no variable", "it cannot be filled in",
                 "write ${NAME}, ${NAME:-default}, or $${ for a plain ${")
            )  # fmt: skip
            return written
        name, default = named[1], named[2]
        if default is not None:
            return environ.get(name) or default
        if name not in environ:
            remedy = f"set it, or write ${{{name}:-default}}"
            mistakes.append((f"environment variable {name} is not set", "it has no default", remedy))
        return environ.get(name, written)

    return Filled(_WORD.sub(value, text), tuple(mistakes))


def fill_tree(root: Table, environ: Mapping[str, str]) -> tuple[Table, list[Problem]]:
    """A declaration with its variables filled in; secrets stay references, and literal ones are problems."""
    secrets = root.entries.get("secrets")
    declared = frozenset(secrets.node.entries) if secrets and isinstance(secrets.node, Table) else frozenset()
    walk = _Walk(environ, declared, _variables(secrets.node) if declared and secrets else {})
    filled = walk.table(root, ())
    return filled, walk.problems


def _variables(secrets: Node) -> dict[str, str]:
    """Name of the secret by the environment variable that holds it."""
    entries = secrets.entries.items() if isinstance(secrets, Table) else ()
    texts = ((name, entry.node.text) for name, entry in entries if isinstance(entry.node, Scalar))
    return {match[1]: name for name, text in texts if (match := _ENVIRONMENT.fullmatch(text))}


# --- secrets that stand where they may not ----------------------------------------------------------------

_READABLE = "whoever reads the file has the secret"
_OPTION = re.compile(r"-{0,2}([A-Za-z][\w-]*)=(.*)", re.DOTALL)
_FLAG = re.compile(r"--[A-Za-z][\w-]*")
_URL_PASSWORD = re.compile(r"\b[a-z][a-z0-9+.-]*://[^/@\s:]*:[^/@\s]+@")
_KNOWN_KEY = re.compile(
    r"\b(sk-[A-Za-z0-9_-]{16,}|hf_[A-Za-z0-9]{20,}|gh[opsru]_[A-Za-z0-9]{20,}|AKIA[0-9A-Z]{16}\b|xox[abps]-\d)"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY|AGE-SECRET-KEY-1[A-Za-z0-9]{10}"
)
# What stands for a secret without being one: nothing, a word that a server or a shell fills in itself
# (`os.environ/NAME` is LiteLLM's), a variable that is escaped, and what servers take for "no key".
_REFERS = re.compile(
    r"|os\.environ/\w+|\$\w+|\$\$\{\w+\}|\{[\w.]+\}|none|null|empty|dummy|not-needed", re.IGNORECASE
)


class _Walk:
    def __init__(
        self, environ: Mapping[str, str], declared: frozenset[str], variables: Mapping[str, str]
    ) -> None:
        self.environ = environ
        self.declared = declared
        self.variables = variables
        self.problems: list[Problem] = []

    def table(self, table: Table, path: tuple[str, ...]) -> Table:
        entries: dict[str, Entry] = {}
        for key, entry in table.entries.items():
            below = self.node(entry.node, (*path, key))
            entries[key] = entry if below is entry.node else Entry(entry.key_at, below)
        changed = any(entries[key] is not entry for key, entry in table.entries.items())
        return Table(entries, table.at) if changed else table

    def node(self, node: Node, path: tuple[str, ...]) -> Node:
        if isinstance(node, Table):
            return self.table(node, path)
        if isinstance(node, Items):
            self._arguments(node, path)
            items = tuple(self.node(item, (*path, str(index))) for index, item in enumerate(node.items))
            changed = any(item is not other for item, other in zip(items, node.items, strict=True))
            return Items(items, node.at) if changed else node
        if path[0] == "secrets" and len(path) > 1:
            self._reference(node, path)
            return node
        if hidden(path):
            self._secret(node, path, node.text if _may_be_secret(node, path) else "")
            return node
        return self._scalar(node, path)

    def _scalar(self, node: Scalar, path: tuple[str, ...]) -> Scalar:
        if not isinstance(node.value, str):
            return node
        self._telltale(node, path)
        if "${" not in node.text:
            return node
        self._filled_secret(node, path)
        filled = fill(node.text, self.environ)
        for found, breaks, remedy in filled.mistakes:
            self._note(node, path, found, breaks, remedy)
        whole = _WORD.fullmatch(node.text) and not node.quoted and not node.text.startswith("$$")
        value = typed(filled.text) if whole and filled.text else filled.text
        return Scalar(value, filled.text, node.quoted, node.at, origin=node.text)

    def _reference(self, node: Scalar, path: tuple[str, ...]) -> None:
        """A value under the top-level `secrets:`."""
        try:
            SecretRef.parse(node.text)
        except ValueError:
            if node.value is None:
                self._note(node, path, "nothing", "it refers to no secret", f"write {_FORMS}")
            elif node.text.startswith("${") and ":-" in node.text:
                found = "a reference with a default (not shown)"
                self._note(node, path, found, "the default is a secret in the file", "write ${NAME} alone")
            else:
                self._note(node, path, "a literal value (not shown)", _READABLE, f"write {_FORMS}")

    def _secret(self, node: Scalar, path: tuple[str, ...], text: str) -> None:
        """A value whose key says that it is a secret: it may name a declared one, and nothing else."""
        if text in self.declared or _REFERS.fullmatch(text):
            return
        if "${" in text:
            found = "a secret that is filled in from the environment"
            remedy = (
                "declare it as `name: ${NAME}` under the top-level `secrets:`, and name it where it is used"
            )
            self._note(node, path, found, "it would stand in clear in artifacts and revisions", remedy)
        else:
            known = f"name a secret that `secrets:` declares ({or_known('', self.declared)})"
            remedy = known if self.declared else f"declare it under the top-level `secrets:` as {_FORMS}"
            self._note(node, path, "a literal value (not shown)", _READABLE, remedy)

    def _filled_secret(self, node: Scalar, path: tuple[str, ...]) -> None:
        """A text into which the value of a declared secret would be filled."""
        for match in _WORD.finditer(node.text):
            named = _NAMED.fullmatch(match[1] or "") if not match[0].startswith("$$") else None
            if named and named[1] in self.variables:
                found = f"`${{{named[1]}}}`, which is the secret `{self.variables[named[1]]}`"
                breaks = "its value would stand in clear in artifacts, logs and backups"
                remedy = f"hand it over by name (`secrets: {{{named[1]}: {self.variables[named[1]]}}}`), and write "
                self._note(node, path, found, breaks, f"{remedy}$${{{named[1]}}} for a shell to fill in")

    def _telltale(self, node: Scalar, path: tuple[str, ...]) -> None:
        """A text that holds a secret whatever its key: a URL with a password, a key of a known make."""
        option = _OPTION.fullmatch(node.text)
        if option and names_secret(option[1]):
            self._secret(node, path, option[2])
        elif _URL_PASSWORD.search(node.text):
            found, remedy = (
                "a URL with a password in it (not shown)",
                "take it out; name a declared secret instead",
            )
            self._note(node, path, found, _READABLE, remedy)
        elif _KNOWN_KEY.search(node.text):
            remedy = "take it out; name a declared secret instead"
            self._note(node, path, "a text that is a key or token (not shown)", _READABLE, remedy)

    def _arguments(self, node: Items, path: tuple[str, ...]) -> None:
        """`--api-key`, then the key: two items of one command."""
        for index, (flag, value) in enumerate(zip(node.items, node.items[1:], strict=False)):
            if not (isinstance(flag, Scalar) and isinstance(value, Scalar) and _FLAG.fullmatch(flag.text)):
                continue
            if names_secret(flag.text.lstrip("-")) and not value.text.startswith("-"):
                self._secret(value, (*path, str(index + 1)), value.text)

    def _note(self, node: Scalar, path: tuple[str, ...], found: str, breaks: str, remedy: str) -> None:
        self.problems.append(Problem(*node.at, ".".join(path), found, breaks, remedy))


def _may_be_secret(node: Scalar, path: tuple[str, ...]) -> bool:
    if isinstance(node.value, bool) or node.value is None or "secret_lengths" in path[:-1]:
        return False
    # `max_token: 5` counts words; a password may be digits only.
    return isinstance(node.value, str) or not path[-1].lower().endswith("token")
