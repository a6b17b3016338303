"""OpenSSH, by which a Docker Engine on another machine is reached."""

from __future__ import annotations

from tools.parts.part import Part

PARTS = (
    Part(
        name="ssh",
        version="9",
        binaries=("sshd", "ssh", "ssh-keygen"),
        how_to_get="make parts (Debian: apt-get install openssh-server)",
        debian=("openssh-server", "openssh-client"),
        probe=("-V",),
    ),
)
