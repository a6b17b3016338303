"""Images of real programs under the names of deploy/'s files (tools/images), loaded into the session's engine.

`stack_images(names)` loads what a project names, once each; the test is skipped where they are not made.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable

import pytest

from tests.parts import must_be_here
from tests.servers.docker import Docker
from tools.images import all_images
from tools.images.image import write_archive

LoadImages = Callable[[Iterable[str]], None]


@pytest.fixture(scope="session")
def stack_images(docker: Docker) -> LoadImages:
    """Load images by their names."""
    return lambda names: load_images(docker, names)


def load_images(docker: Docker, names: Iterable[str]) -> None:
    """Bring images into an engine, those that it has not."""
    known = all_images()
    if unknown := sorted(set(names) - set(known)):
        pytest.fail(f"tools/images has no recipe for {', '.join(unknown)}", pytrace=False)
    wanted = list(dict.fromkeys(known[name] for name in names))
    if missing := [image.names[0] for image in wanted if not image.made]:
        message = f"{', '.join(missing)}: not made: make parts ARGS=whole-stack-images"
        (pytest.fail if must_be_here("whole-stack-images") else pytest.skip)(message)
    listed = docker.run("images", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}").splitlines()
    wanted = [one for one in wanted if not {f"{one.id} {name}" for name in one.names} <= set(listed)]
    if not wanted:
        return
    with subprocess.Popen(
        ["docker", "load", "--quiet"],
        env=dict(docker.environ),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    ) as process:
        assert process.stdin is not None
        write_archive(wanted, process.stdin)
        process.stdin.close()
        assert process.wait(300) == 0
