"""A whole stack of deploy/, led through its life: its files unchanged, its images real programs (tests/whole.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import httpx
import psycopg
import yaml

from tests.deploy.projects import Form
from tests.life.living import Living
from tests.real_models import fill_caches
from tests.servers.docker import Docker
from tests.servers.images import LoadImages
from tests.servers.seaweed import Seaweed
from tests.whole import whole

_FILE = "compose.version.yaml"
_LABEL = "life.version"


class WholeStack(Living):
    """One form of a stack of deploy/. An upgrade changes a label of one service, which makes its container anew."""

    form: ClassVar[Form]
    changing: ClassVar[str]
    """Service that an upgrade changes: soon up, and with little that waits for it, which is made anew too."""

    def __init__(self, docker: Docker, seaweed: Seaweed, bucket: str, root: Path, load: LoadImages) -> None:
        super().__init__(docker, seaweed, bucket, root)
        self.here = whole(docker, self.form, seaweed, bucket, root, words=self.words())
        self._load = load
        file = self.folder / "stack.yaml"
        declared = yaml.safe_load(file.read_text())
        declared["profiles"][self.form.profile]["target"]["files"].append(_FILE)
        file.write_text(yaml.safe_dump(declared, sort_keys=False))

    def words(self) -> Mapping[str, str]:
        """Variables whose content matters."""
        return {}

    @property
    def stack(self) -> str:
        return self.form.stack

    @property
    def project(self) -> str:
        return self.here.project

    @property
    def folder(self) -> Path:
        return self.here.folder

    @property
    def secrets(self) -> Mapping[str, str]:
        return {}

    @property
    def environ(self) -> dict[str, str]:
        return dict(self.here.environ)

    @property
    def unreachable(self) -> tuple[type[Exception], ...]:
        return (httpx.TransportError,)

    def make_images(self) -> None:
        self._load(self.here.images)

    def bring_models(self) -> bool:
        """Put real small models under the names that it declares: there is no network to pull them from."""
        fill_caches(self.site)
        return True

    def write(self) -> None:
        self.upgrade("1")

    def upgrade(self, version: str) -> None:
        self._change({"labels": {_LABEL: version}})

    def spoil(self) -> None:
        never = {"test": ["CMD", "false"], "interval": "1s", "retries": 2, "start_period": "0s"}
        self._change({"labels": {_LABEL: "spoilt"}, "healthcheck": never})

    def version(self) -> str:
        shown = f'{{{{index .Config.Labels "{_LABEL}"}}}}'
        return self.docker.run("inspect", "--format", shown, self.here.container(self.changing))

    def says(self, url: str, model: str, key: str = "") -> str:
        """What a model of it says to one question, always the same."""
        asked = {"messages": [{"role": "user", "content": "Say one word."}], "temperature": 0, "seed": 1}
        answer = httpx.post(
            f"{url}/v1/chat/completions",
            json={"model": model, "max_tokens": 4, **asked},
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=120,
            verify=False,  # noqa: S501 - where there is a certificate, it is the test's own
        )
        assert answer.status_code == 200, answer.text
        said: str = answer.json()["choices"][0]["message"]["content"]
        assert said.strip()
        return said

    @contextmanager
    def postgres(self, name: str, user: str, password: str) -> Iterator[psycopg.Connection[Any]]:
        """A database of it; `password` is the variable."""
        port, word = self.here.ports["5432"], self.environ[password]
        where = {"host": "127.0.0.1", "port": port, "dbname": name, "user": user, "password": word}
        with psycopg.connect(**where, autocommit=True) as base:
            yield base

    def _change(self, service: Mapping[str, Any]) -> None:
        (self.folder / _FILE).write_text(yaml.safe_dump({"services": {self.changing: service}}))
