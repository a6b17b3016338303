"""The only reader of environment variables.

A setting comes from the process environment, else from `run.env` in the home folder (written by
`ops-pipelines up`: the addresses and credentials of the embedded services, mode 0600), else from its
default. Everything else in the project is handed a `Settings`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ops_pipelines.errors import OpsError, UsageError

RUN_ENV = "run.env"
PROFILES_ENV = "profiles.env"
"""File of the home folder with the profile of each stack that was migrated, `stack=profile`."""


@dataclass(frozen=True)
class Settings:
    """What of the environment the project goes by."""

    home: Path
    """Folder of all local state (`OPS_HOME`, default `.ops` in the working folder)."""
    stacks_dirs: tuple[Path, ...]
    """Folders that hold stack files (`OPS_STACKS_DIR`, colon separated, default `deploy`)."""
    profiles: Mapping[str, str]
    """Profile by stack (`OPS_PROFILES`, `obelisk=production,aphrodite=ray`; `*=dev` for all others; for stacks that it
    does not name, what a migration chose)."""
    ollama: Path | None
    """The ollama program (`OPS_OLLAMA`, else found on PATH by whoever asks)."""
    demo_corpus: Path | None
    """Folder that the first run embeds (`OPS_DEMO_CORPUS`, else the project's own documents)."""
    age_identity: Path | None
    """File with the private age keys that open encrypted snapshots (`OPS_AGE_IDENTITY`)."""
    hub: str | None
    """Mirror of the Hugging Face hub (`HF_ENDPOINT`); None is the hub itself."""
    ollama_mirror: str | None
    """Registry that Ollama's models are pulled from in place of its own (`OPS_OLLAMA_MIRROR`, `[http://]HOST[:PORT]`)."""
    offline: bool
    """Nothing is asked of hub, registry or hosted API (`OPS_OFFLINE=1`): caches and buckets are all there is."""
    log_format: str
    """`console` or `json` (`OPS_LOG_FORMAT`)."""
    environ: Mapping[str, str] = field(repr=False)
    """The whole environment, for `${NAME}` in declarations and for secret references. Its paths are absolute."""
    given: Mapping[str, str] = field(repr=False)
    """The environment that the process was given, without `run.env`."""

    @property
    def supervisor_dir(self) -> Path:
        """Folder of supervisord: its configuration, socket and logs."""
        return self.home / "supervisor"

    def stack_dir(self, stack: str) -> Path:
        """Folder of one stack's local state."""
        return self.home / "stacks" / stack

    def profile_of(self, stack: str) -> str | None:
        """Profile chosen for a stack, or None where its own default holds."""
        return self.profiles.get(stack, self.profiles.get("*"))


def load_settings(environ: Mapping[str, str] | None = None, *, cwd: Path | None = None) -> Settings:
    """Settings of this process. `environ` and `cwd` stand in for the real ones in tests.

    Raises UsageError where the home folder is no folder, OpsError where its `run.env` cannot be read.
    """
    process = dict(os.environ if environ is None else environ)
    folder = Path.cwd() if cwd is None else cwd
    home = (folder / (process.get("OPS_HOME") or ".ops")).resolve()
    merged = {**read_env_file(home / RUN_ENV), **process}
    merged["OPS_HOME"] = str(home)
    stacks = _folders(folder, merged.get("OPS_STACKS_DIR") or "deploy")
    if merged.get("OPS_STACKS_DIR"):
        merged["OPS_STACKS_DIR"] = os.pathsep.join(map(str, stacks))
    corpus = (folder / merged["OPS_DEMO_CORPUS"]).resolve() if merged.get("OPS_DEMO_CORPUS") else None
    if corpus is not None:
        # A stack file's own folder is another one than that in which a person typed the path.
        merged["OPS_DEMO_CORPUS"] = str(corpus)
    return Settings(
        home=home,
        stacks_dirs=stacks,
        profiles={**read_env_file(home / PROFILES_ENV), **_profiles(merged.get("OPS_PROFILES", ""))},
        ollama=folder / merged["OPS_OLLAMA"] if merged.get("OPS_OLLAMA") else None,
        demo_corpus=corpus,
        age_identity=folder / merged["OPS_AGE_IDENTITY"] if merged.get("OPS_AGE_IDENTITY") else None,
        hub=(merged.get("HF_ENDPOINT") or "").rstrip("/") or None,
        ollama_mirror=(merged.get("OPS_OLLAMA_MIRROR") or "").rstrip("/") or None,
        offline=merged.get("OPS_OFFLINE", "").lower() in ("1", "true", "yes"),
        log_format=merged.get("OPS_LOG_FORMAT", "console"),
        environ=merged,
        given=process,
    )


def read_env_file(path: Path) -> dict[str, str]:
    """The `NAME=value` lines of a file, or nothing where the file is not there.

    Raises UsageError where its folder is no folder, OpsError where it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except NotADirectoryError:
        raise UsageError(f"{path.parent} is not a folder", remedy="set OPS_HOME to a folder") from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise OpsError(
            f"{path} cannot be read: {why}", remedy="correct its rights, or set OPS_HOME to another folder"
        ) from error
    pairs = (line.partition("=") for line in text.splitlines() if line and not line.startswith("#"))
    return {name.strip(): value for name, sep, value in pairs if sep}


def choose_profile(home: Path, stack: str, profile: str) -> None:
    """Let a stack be in one of its forms from now on: in this home folder, unless OPS_PROFILES says otherwise.

    The file is replaced in one step. Raises OpsError where it cannot be written."""
    path = home / PROFILES_ENV
    chosen = {**read_env_file(path), stack: profile}
    draft = path.with_name(f".{PROFILES_ENV}.{os.getpid()}")
    try:
        home.mkdir(parents=True, exist_ok=True)
        with draft.open("w", encoding="utf-8") as file:
            file.write("".join(f"{name}={value}\n" for name, value in sorted(chosen.items())))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise OpsError(
            f"{path} cannot be written: {error.strerror}", remedy="correct the rights of the home folder"
        ) from error


def _folders(base: Path, text: str) -> tuple[Path, ...]:
    return tuple((base / part).resolve() for part in text.split(os.pathsep) if part)


def _profiles(text: str) -> dict[str, str]:
    pairs = (item.partition("=") for item in text.split(",") if item.strip())
    return {(name.strip() if sep else "*"): (value if sep else name).strip() for name, sep, value in pairs}
