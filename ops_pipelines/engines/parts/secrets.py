"""The values of a stack's secrets as a part. It exists encrypted only.

    secrets.json   name -> reference and value, exactly
    secrets.env    VARIABLE=value, as `run.env` has it, for those that are environment variables of one line

Both begin with random characters: the manifest keeps a digest of each file, which must not let anybody try values.
A restore puts them into a folder of their own, which only their owner may read, and never over anything in use.
"""

from __future__ import annotations

import hashlib
import json
import secrets as randomness
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ops_pipelines.engines.ports import Capture, Captured, Progress
from ops_pipelines.policy.manifest import FileEntry

_NONCE = 32


@dataclass(frozen=True)
class SecretsSource:
    """Values of secrets by name, with the reference of each."""

    name: str
    values: Mapping[str, str] = field(repr=False)
    references: Mapping[str, str]
    kind: str = "secrets"

    def capture(self, scratch: Path, progress: Progress) -> Capture:
        """Two files in `scratch`, which only their owner may read."""
        progress("read secrets", 0, len(self.values), "secrets")
        contents = {"secrets.json": self._exact(), "secrets.env": self._lines()}
        files = []
        for name, content in contents.items():
            path = scratch / name
            path.touch(mode=0o600)
            path.write_bytes(content)
            entry = FileEntry(name, len(content), hashlib.sha256(content).hexdigest(), 0o600)
            files.append(Captured(entry, path))
        return Capture(tuple(files), {"secrets": sorted(self.values)}, "quiesced")

    def _exact(self) -> bytes:
        found = {
            name: {"reference": self.references[name], "value": value} for name, value in self.values.items()
        }
        content = {"random": randomness.token_hex(_NONCE), "secrets": found}
        return json.dumps(content, indent=1, ensure_ascii=False).encode()

    def _lines(self) -> bytes:
        lines = [f"# {randomness.token_hex(_NONCE)}"]
        for name, value in self.values.items():
            reference = self.references[name]
            if reference.startswith("${") and "\n" not in value and "\r" not in value:
                lines.append(f"{reference[2:-1]}={value}")
            else:
                lines.append(f"# {name}: {reference}, in secrets.json")
        return ("\n".join(lines) + "\n").encode()
