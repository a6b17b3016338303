"""The Hugging Face hub: pull a repository into a hub cache or a plain folder, and ask beforehand.

huggingface_hub does the transfer: it goes on where it stopped, checks sizes (and content, over Xet), and
lays the cache out. Here its errors become words: which model, whose licence, which secret.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url, snapshot_download
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import tqdm

from ops_pipelines.errors import OpsError, PartFailed, Refused, Unreachable
from ops_pipelines.policy.cache_diff import at_source
from ops_pipelines.policy.cache_names import folder_name
from ops_pipelines.policy.models import CacheModel, WantedModel
from ops_pipelines.policy.plan import Finding

Progress = Callable[[str, int, int | None, str], None]
TokenOf = Callable[[WantedModel], str | None]
"""Value of the token that a model's declaration names, or None where it names none."""
HUB = "https://huggingface.co"
_PROBE = 10.0
_NOT_ASKED = (".gitattributes", "README.md", ".gitignore")
"""Files that a gated repository shows to everybody."""


def no_token(model: WantedModel) -> str | None:  # noqa: ARG001 - a TokenOf
    """No token for any model."""
    return None


class HuggingFace:
    """The ModelSource of `hf:` models. A token is only ever what the declaration refers to."""

    def __init__(self, token_of: TokenOf = no_token, *, endpoint: str = HUB) -> None:
        self._token_of = token_of
        self._endpoint = endpoint.rstrip("/")

    def fetch(self, model: WantedModel, root: Path, layout: str, progress: Progress) -> str:
        """Download the whole repository at the revision asked for, else at its pin. Returns the commit.

        A pinned commit becomes the cache's `main` where there is none yet, so that a server that loads by
        name and without a network finds it.

        Raises Refused that names the model and its licence page, Unreachable, PartFailed (disk)."""
        where: dict[str, Any] = {"cache_dir": root}
        if layout == "directory":
            where = {"local_dir": root / folder_name(model.reference)}
        elif layout != "huggingface":
            raise Refused(
                f"model {model.name}: a cache of layout {layout} holds no hub repository",
                remedy="give the cache `layout: huggingface` or `directory`",
            )
        try:
            folder = snapshot_download(
                model.reference,
                revision=self._revision(model),
                token=self._token_of(model) or False,
                endpoint=self._endpoint,
                tqdm_class=_bar(model.name, progress),
                **where,
            )
            if layout == "directory":
                return self._commit(model)
            if not model.revision:
                _make_main(Path(folder))
            return Path(folder).name
        except (HTTPError, OSError, HFValidationError) as error:
            raise self._explained(model, error) from error

    def probe(self, model: WantedModel) -> Finding:
        """Whether the repository, its revision and its files can be had with the token that is declared."""
        subject = f"model {model.name}"
        try:
            commit = self._commit(model, content=True)
        except (HTTPError, OSError, HFValidationError) as error:
            explained = self._explained(model, error)
            unknown = isinstance(explained, Unreachable)
            return Finding(
                subject=subject,
                ok=None if unknown else False,
                message=explained.message,
                remedy=explained.remedy,
                severity="warning" if unknown else "error",
            )
        return Finding(subject, True, f"the hub has {model.reference} at {commit[:12]}")

    def at_source(self, model: WantedModel, held: CacheModel) -> Finding:
        """Whether the branch or tag at the hub still is the commit that the cache holds; None where that is unknown."""
        asked = replace(model, pin=None)  # what it is pinned to is not what its source has now
        try:
            return at_source(model, held, self._commit(asked))
        except (HTTPError, OSError, HFValidationError) as error:
            explained = self._explained(asked, error)
            ok = None if isinstance(explained, Unreachable) else False
            return Finding(f"model {model.name}", ok, explained.message, explained.remedy, "warning")

    def _revision(self, model: WantedModel) -> str | None:
        return model.revision or (model.pin if model.pin and len(model.pin) == 40 else None)

    def _commit(self, model: WantedModel, *, content: bool = False) -> str:
        """The commit of the revision; with `content`, one of its files is asked for too."""
        token = self._token_of(model) or False
        api = HfApi(endpoint=self._endpoint, token=token)
        info = api.model_info(model.reference, revision=self._revision(model), timeout=_PROBE)
        names = [file.rfilename for file in info.siblings or () if file.rfilename not in _NOT_ASKED]
        if content and names:
            url = hf_hub_url(model.reference, names[0], revision=info.sha, endpoint=self._endpoint)
            get_hf_file_metadata(url, token=token, timeout=_PROBE, endpoint=self._endpoint)
        return str(info.sha)

    def _explained(self, model: WantedModel, error: Exception) -> OpsError:
        """The error in this project's words; the hub's own page and the secret's name are in the remedy."""
        page = f"{self._endpoint}/{model.reference}"
        secret = f"models.{model.key}.token"
        if isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
            error = error.__cause__ if isinstance(error.__cause__, Exception) else error
        status = _status(error)
        match error:
            case GatedRepoError():
                has = "with the token that is declared" if model.token else "without a token"
                return Refused(
                    f"model {model.reference} is gated and its files cannot be had {has} ({status})",
                    remedy=f"accept its licence at {page} and declare a token of that account as {secret}",
                )
            case RevisionNotFoundError():
                return Refused(
                    f"model {model.reference} has no revision {self._revision(model) or 'main'}",
                    remedy=f"see {page}/commits/main, and correct `source` or `digest`",
                )
            case RepositoryNotFoundError() | HFValidationError():
                return Refused(
                    f"the hub has no model {model.reference}, or shows it to nobody without the right token",
                    remedy=f"look at {page}; for a private model declare {secret}",
                )
            case DisabledRepoError():
                return Refused(f"model {model.reference} was disabled by the hub", remedy=f"see {page}")
            case HfHubHTTPError() if status in (401, 403):
                return Refused(
                    f"the hub refuses model {model.reference} ({status})",
                    remedy=f"check that the token of {secret} is valid and that its licence at {page} is accepted",
                )
        return _network_or_disk(model, error, self._endpoint)


def _make_main(snapshot: Path) -> None:
    ref = snapshot.parents[1] / "refs" / "main"
    if not ref.exists():
        ref.parent.mkdir(exist_ok=True)
        temporary = ref.with_name("main.00000000.tmp")
        temporary.write_text(snapshot.name, encoding="utf-8")
        temporary.replace(ref)


def _network_or_disk(model: WantedModel, error: Exception, endpoint: str) -> OpsError:
    words = " ".join(str(error).split())[:200] or type(error).__name__
    if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        return PartFailed(
            f"model {model.reference} cannot be written: {error.strerror} ({error.filename})",
            remedy="check the cache's rights and its free space, and try again: it goes on where it stopped",
        )
    return Unreachable(
        f"{endpoint} does not answer for model {model.reference} ({words})",
        remedy="check the network and its proxy; what was downloaded is kept, and the next pull goes on",
    )


def _status(error: Exception) -> int | None:
    response = getattr(error, "response", None)
    return getattr(response, "status_code", None)


def _bar(name: str, progress: Progress) -> type[Any]:
    """A progress bar for huggingface_hub that draws nothing and tells `progress` the bytes."""

    class Bar(tqdm):  # type: ignore[misc]  # it publishes no types
        def __init__(self, *args: Any, **words: Any) -> None:
            words.pop("name", None)
            super().__init__(*args, **{**words, "file": io.StringIO(), "disable": False})

        def display(self, *_: Any, **__: Any) -> None:
            """Draw nothing."""

        def update(self, n: float | None = 1) -> bool | None:
            drawn: bool | None = super().update(n)
            if self.unit == "B" and self.total:
                progress(f"pull {name}", int(self.n), int(self.total), "bytes")
            return drawn

    return Bar
