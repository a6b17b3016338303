"""What supervisord starts in place of a program: it resolves the secrets and becomes the program.

A program is started again after a crash, or after supervisord itself was, when nobody who knows the secrets
is there. So this reads the references at that moment, from its environment, run.env and files, and nothing
secret is kept anywhere else. It is run as a file, with the path of the spec as its only argument.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

if __name__ == "__main__":  # run as a file, perhaps from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ops_pipelines.adapters._process import find_program
from ops_pipelines.adapters._supervisor_files import PID_FILE, read_spec
from ops_pipelines.adapters._supervisor_strays import MARK, die_with_parent, end, mark, strays
from ops_pipelines.errors import OpsError
from ops_pipelines.policy.processes import Program

CANNOT_START = 78
"""Exit status where the declaration is at fault (EX_CONFIG)."""

# What a program is given of the environment; the rest may hold the secrets of others.
_PASSED = frozenset({
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "OPS_HOME",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
})  # fmt: skip
_PASSED_GROUPS = ("LC_", "XDG_", "CUDA_", "NVIDIA_", "HIP_", "ROCR_", "HSA_")


def main(spec: Path) -> NoReturn:
    """Become the program of a spec file."""
    from ops_pipelines.settings import load_settings

    folder = spec.parent.parent
    die_with_parent()
    if _orphaned(folder):
        sys.exit(CANNOT_START)
    program = read_spec(spec)
    environ = load_settings().environ
    if ended := end(strays(folder, program.name), program.stop_seconds):
        sys.stderr.write(f"ops-pipelines: ended what an earlier life of the program left: pids {ended}\n")
    environment = environment_of(program, environ) | {MARK: mark(folder, program.name)}
    os.chdir(program.directory)
    if os.sep not in program.command[0]:
        find_program(program.command[0], environ=environment, remedy="install it, or correct the command")
    os.execvpe(program.command[0], list(program.command), environment)  # noqa: S606 - the program is declared


def environment_of(program: Program, environ: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a program. Raises SecretMissing."""
    passed = {
        name: value
        for name, value in environ.items()
        if program.inherit or name in _PASSED or name.startswith(_PASSED_GROUPS)
    }
    return passed | dict(program.environment) | resolve_secrets(program, environ)


def resolve_secrets(program: Program, environ: Mapping[str, str]) -> dict[str, str]:
    """Environment variable -> value of each secret of a program. Raises SecretMissing."""
    if not program.secrets:
        return {}
    from ops_pipelines.stack.references import SecretRef, resolve

    base = Path(program.directory)
    return {
        variable: resolve(SecretRef.parse(reference), environ, base).get_secret_value()
        for variable, reference in program.secrets.items()
    }


def _orphaned(folder: Path) -> bool:
    """Whether the supervisord that started this has died before it could be noticed."""
    try:
        return int((folder / PID_FILE).read_text(encoding="ascii")) != os.getppid()
    except (OSError, ValueError):
        return False


def _run() -> int:
    try:
        main(Path.cwd() / sys.argv[1])
    except OpsError as error:
        message = str(error)
    except (ValueError, KeyError, TypeError) as error:
        message = f"{sys.argv[1]} is damaged ({type(error).__name__}); deploy again"
    except FileNotFoundError as error:
        message = f"{error.filename}: no such file or folder"
    except OSError as error:
        message = f"{error.filename}: {error.strerror}"
    sys.stderr.write(f"ops-pipelines: the program could not be started: {message}\n")
    return CANNOT_START


if __name__ == "__main__":
    sys.exit(_run())
