"""The folder of one supervisord: what lies where, and how each file reads.

    supervisord.conf, .log, .pid, .lock
    programs/NAME.ini             one group of one process; writing it is what commits a change
    specs/NAME.DIGEST.json        what the launcher starts; never the value of a secret
    logs/NAME.log                 what the program printed, standard error included

The group's one process is called NAME@DIGEST. So supervisord itself says which version runs,
and not only which was last written: a deploy that was killed in between is seen for what it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ops_pipelines.errors import OpsError, UsageError
from ops_pipelines.policy.processes import Program, from_json, to_json

LAUNCHER = Path(__file__).with_name("_supervisor_launch.py")
PID_FILE = "supervisord.pid"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SPEC = re.compile(r"(.+)\.([0-9a-f]{64})\.json")
# What supervisord's own file format and its `[include]` cannot hold, however it is quoted.
_UNWRITABLE = re.compile(r"[\r\n*?\[\]]| [;#]")
# The system takes 107 bytes; supervisord first binds a name that ends in its process number.
_SOCKET_BYTES = 107 - len(".4194304")


@dataclass(frozen=True)
class Folder:
    """Paths below the folder of one supervisord."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "supervisord.conf"

    @property
    def log(self) -> Path:
        return self.path / "supervisord.log"

    @property
    def pid_file(self) -> Path:
        return self.path / PID_FILE

    @property
    def lock(self) -> Path:
        return self.path / "supervisord.lock"

    @property
    def socket(self) -> Path:
        """Where it answers. A path too long for a socket is replaced by a short one of this user's."""
        place = self.path / "supervisor.sock"
        if len(os.fsencode(place)) <= _SOCKET_BYTES:
            return place
        return _runtime_dir() / f"{hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]}.sock"

    def ini(self, name: str) -> Path:
        return self.path / "programs" / f"{name}.ini"

    def spec(self, name: str, digest: str) -> Path:
        return self.path / "specs" / f"{name}.{digest}.json"

    def program_log(self, name: str) -> Path:
        return self.path / "logs" / f"{name}.log"

    def declared(self) -> tuple[str, ...]:
        """Programs that have an ini file."""
        return tuple(
            sorted(path.name.removesuffix(".ini") for path in (self.path / "programs").glob("*.ini"))
        )

    def specs(self, name: str) -> Iterator[Path]:
        """All spec files of a program."""
        for path in (self.path / "specs").glob("*.json"):
            match = _SPEC.fullmatch(path.name)
            if match and match[1] == name:
                yield path

    def make(self) -> None:
        """Make the folders, for this user only. Raises UsageError for a path that cannot be written down."""
        if _UNWRITABLE.search(str(self.path)):
            raise UsageError(
                f"supervisord cannot work in {str(self.path)!r}: its file format has no way to write that path",
                remedy="set OPS_HOME to a path without line breaks, brackets, `*`, `?`, ` ;` and ` #`",
            )
        for part in ("", "programs", "specs", "logs"):
            (self.path / part).mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.chmod(0o700)
        if self.socket.parent != self.path:
            _make_runtime_dir(self.socket.parent)


def write_spec(folder: Folder, program: Program) -> None:
    """Write what the launcher starts. Nothing refers to it yet."""
    if not _NAME.fullmatch(program.name):
        raise UsageError(
            f"a program cannot be named {program.name!r}", remedy="use letters, digits, `.`, `-` and `_`"
        )
    record = json.dumps(to_json(program), indent=1, ensure_ascii=False, sort_keys=True)
    write_atomic(folder.spec(program.name, program.digest), record)


def read_spec(path: Path) -> Program:
    """The program of a spec file. Raises OSError, ValueError, KeyError or TypeError where it is none."""
    return from_json(json.loads(path.read_text(encoding="utf-8")))


def spec_is_whole(folder: Folder, name: str, digest: str) -> bool:
    """Whether a program can be started from its spec file."""
    try:
        return read_spec(folder.spec(name, digest)).digest == digest
    except (OSError, ValueError, KeyError, TypeError):
        return False


def write_ini(folder: Folder, program: Program, python: str) -> None:
    """Write a program's ini file; from then on a new supervisord starts this version of it."""
    write_atomic(folder.ini(program.name), _ini(program, python))


def write_config(folder: Folder) -> None:
    """Write supervisord's own configuration."""
    lines = [
        "; Written by ops-pipelines; changes are lost.",
        "[unix_http_server]",
        f"file={_escaped(str(folder.socket))}",
        "chmod=0700",
        "[supervisord]",
        "logfile=supervisord.log",
        "logfile_maxbytes=10MB",
        "logfile_backups=3",
        f"pidfile={PID_FILE}",
        "childlogdir=logs",
        "nocleanup=true",
        *(["user=root"] if os.geteuid() == 0 else []),
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
        "[include]",
        "files=programs/*.ini",
    ]
    write_atomic(folder.config, "\n".join(lines) + "\n")


def refresh(folder: Folder, python: str) -> None:
    """Bring the ini files up to this installation (another Python, a newer launcher); versions stay.

    Spec files that no ini file refers to, left by a crash, are removed.
    """
    used = set()
    for name in folder.declared():
        match = re.search(
            r"^process_name=.+@([0-9a-f]{64})$", folder.ini(name).read_text(encoding="utf-8"), re.M
        )
        if match is None:
            continue
        used.add(folder.spec(name, match[1]))
        # A damaged one is left: the launcher says what is wrong with it, in the program's own log.
        if spec_is_whole(folder, name, match[1]):
            write_ini(folder, read_spec(folder.spec(name, match[1])), python)
    for path in (folder.path / "specs").glob("*.json"):
        if path not in used:
            path.unlink(missing_ok=True)


def write_atomic(path: Path, text: str) -> None:
    """Replace a file in one step, mode 0600, safe against a crash of the machine."""
    handle, scratch = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise


def tail(path: Path, size: int) -> bytes:
    """The last bytes of a file, none where it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - size))
            return file.read(size)
    except OSError:
        return b""


def _ini(program: Program, python: str) -> str:
    # -I: neither the program's folder nor PYTHONPATH may slip modules into the launcher.
    command = shlex.join([python, "-I", str(LAUNCHER), f"specs/{program.name}.{program.digest}.json"])
    if _UNWRITABLE.search(command):
        raise UsageError(
            f"supervisord cannot be told to run {command!r}: its file format has no way to write it",
            remedy="install ops-pipelines and its Python below a plain path",
        )
    lines = [
        "; Written by ops-pipelines; changes are lost.",
        f"[program:{program.name}]",
        f"process_name={program.name}@{program.digest}",
        f"command={_escaped(command)}",
        "autostart=true",
        "autorestart=true",
        # One second up counts as started; ten tries wait 1, 2, ... 10 s between them.
        "startsecs=1",
        "startretries=10",
        "stopasgroup=true",
        "killasgroup=true",
        f"stopwaitsecs={max(1, round(program.stop_seconds))}",
        "redirect_stderr=true",
        f"stdout_logfile=logs/{program.name}.log",
        "stdout_logfile_maxbytes=10MB",
        "stdout_logfile_backups=3",
    ]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _runtime_dir() -> Path:
    # Not TMPDIR: whoever asks must find the same place as whoever started it.
    return Path("/tmp") / f"ops-pipelines-{os.geteuid()}"  # noqa: S108 - owner and mode are checked below


def _make_runtime_dir(path: Path) -> None:
    path.mkdir(mode=0o700, exist_ok=True)
    facts = path.lstat()
    if path.is_symlink() or facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
        raise OpsError(
            f"{path} belongs to somebody else or is open to others, so no socket can be put there",
            remedy=f"remove {path}, or set OPS_HOME to a path of less than 80 characters",
        )
