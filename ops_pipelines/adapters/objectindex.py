"""The memory of a bucket: digests of objects that have not changed since they were read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import structlog

from ops_pipelines.policy.objects import KnownObject, Sealed

log = structlog.get_logger()
_FORMAT = 1


def load_objects(path: Path) -> dict[str, KnownObject]:
    """Known objects by key; nothing where the index is not there or cannot be used, which costs a full read."""
    try:
        raw = json.loads(path.read_bytes())
        if raw["format"] != _FORMAT:
            raise ValueError(f"format {raw['format']}")
        return {key: _known(fields) for key, fields in raw["objects"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("object index unusable, every object is read again", index=str(path), reason=str(error))
        return {}


def _known(fields: Mapping[str, Any]) -> KnownObject:
    sealed = fields.get("sealed")
    if sealed is None:
        return KnownObject(**fields)
    made = Sealed(sealed["size"], sealed["sha256"], tuple(sealed["recipients"]))
    return KnownObject(**{**fields, "sealed": made})


def save_objects(path: Path, objects: Mapping[str, KnownObject]) -> None:
    """Replace the index in one step. It is a convenience: that it cannot be written is said and no error."""
    temporary = path.with_name(f".{path.name}.new")
    content = {"format": _FORMAT, "objects": {key: asdict(known) for key, known in objects.items()}}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(content), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        log.warning("object index not written", index=str(path), reason=str(error))
