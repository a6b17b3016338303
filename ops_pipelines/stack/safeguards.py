"""What makes a backup safe to keep and true to read: hooks that hold a part still, encryption, needed secrets."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from ops_pipelines.stack.base import Declared
from ops_pipelines.stack.units import Duration, Name

PART_KINDS = {
    "caches": "model_cache",
    "collections": "collection",
    "databases": "database",
    "volumes": "volume",
    "buckets": "bucket",
    "configuration": "configuration",
}
"""Words of the stack file for kinds of parts."""
_PART = r"^(caches|collections|databases|volumes|buckets|configuration|[a-z_]+/[^/]+)$"


class Request(Declared):
    """An HTTP request."""

    url: Annotated[str, Field(pattern=r"^https?://[^/\s]+")]
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    body: str = ""
    headers: dict[str, str] = Field(default_factory=dict)
    expect: list[Annotated[int, Field(ge=100, le=599)]] = Field(default_factory=list)
    """Statuses that count as done. Without any: 200 to 299."""


class Hook(Declared):
    """One thing that is done before or after a part is read: a command on this machine, or a request."""

    name: str = ""
    """What people call it. Without: the program's name, or method and URL."""
    command: Annotated[list[str], Field(min_length=1)] | None = None
    """Program and arguments, started in the folder of the stack file. No shell reads them."""
    http: Request | None = None
    secrets: dict[str, Name] = Field(default_factory=dict)
    """Secret by environment variable of the command, or by header of the request."""
    timeout: Annotated[Duration, Field(gt=0)] = 60.0
    """Seconds after which it has failed, and is stopped."""
    on_failure: Literal["fail", "continue"] = "fail"
    """`fail`: no snapshot without it. `continue`: the snapshot says that it failed."""
    quiesces: bool = False
    """Once it has run, nothing writes to the part until `after`: the snapshot then says `quiesced`."""

    @model_validator(mode="after")
    def _one_kind(self) -> Hook:
        if (self.command is None) == (self.http is None):
            raise ValueError("a hook is a `command` or an `http` request, one of the two")
        return self

    @property
    def label(self) -> str:
        """What people call it. Arguments and queries are left out: it stands in logs and in the manifest."""
        if self.name:
            return self.name
        if self.http is not None:
            url = urlsplit(self.http.url)
            return f"{self.http.method} {url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"
        return PurePosixPath((self.command or [""])[0]).name


class Hooks(Declared):
    """What holds something still while it is read."""

    before: list[Hook] = Field(default_factory=list)
    after: list[Hook] = Field(default_factory=list)
    """Always run: after a failure, an interruption, and by the next run where one was killed. Running them twice
    must do no harm."""


class PartOptions(Declared):
    """What every part of a backup may say of itself."""

    needs: list[Name] = Field(default_factory=list)
    """Secrets without which its content cannot be read (LiteLLM's salt key, Langfuse's encryption key)."""
    hooks: Hooks = Hooks()
    """What holds it still while a backup reads it."""


class Encrypt(Declared):
    """What of a snapshot lies encrypted in the bucket, and who can open it (age, age-encryption.org)."""

    recipients: Annotated[
        list[Annotated[str, Field(pattern=r"^(age1[a-z0-9]+|file:.+)$")]], Field(min_length=1)
    ]
    """Public keys (`age1...`), or `file:PATH` with one a line, relative to the stack file. Each opens all alone."""
    parts: list[Annotated[str, Field(pattern=_PART)]] = Field(
        default_factory=lambda: ["databases", "configuration"]
    )
    """Kinds (`databases`, `configuration`, `collections`, `caches`, `volumes`, `buckets`), or parts by their key
    (`database/litellm`)."""
    secrets: bool | list[Name] = False
    """Keep the values of the stack's secrets too: all of them, or those named. Always encrypted."""
    identity: Name | None = None
    """Secret with the private key, for drills and restores here: the key itself, or an identity file's text."""

    def covers(self, kind: str, name: str) -> bool:
        """Whether a part is to be encrypted."""
        return any(word == f"{kind}/{name}" or PART_KINDS.get(word) == kind for word in self.parts)
