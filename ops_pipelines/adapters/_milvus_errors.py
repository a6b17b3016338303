"""Failures of pymilvus as errors of this project, and its own log kept quiet."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from pymilvus.exceptions import (
    ConnectError,
    DataNotMatchException,
    MilvusException,
    MilvusUnavailableException,
    ParamError,
)

from ops_pipelines.errors import OpsError, Refused, SchemaMismatch, Unreachable

_NO_RIGHTS = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
_GONE = (
    "retry timeout",
    "fail connecting",
    "server unavailable",
    "closed channel",
    "unavailable",
    "deadline",
)
_ARGUMENT = (6, 1100)
"""Codes of an illegal argument: before 2.3 and since (pymilvus, milvus' merr)."""
_WRONG = ("out of range", "invalid parameter", "invalid index", "not match")
_NOT_LOADED = 101
_NOT_FOUND = (4, 100)


def quiet() -> None:
    """Take pymilvus' handlers away: it prints a traceback for each call that fails, on top of raising.

    gRPC itself prints to standard error what it then raises too ("Got goaway"). To be called before it connects.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    for name in ("pymilvus", "pymilvus.milvus_client", "pymilvus.bulk_writer"):
        logger = logging.getLogger(name)
        logger.handlers = [logging.NullHandler()]
        logger.setLevel(logging.CRITICAL)


@contextmanager
def mapped(doing: str, where: str) -> Iterator[None]:
    """Turn what pymilvus raises inside into an OpsError. `doing` is what was tried, `where` the server."""
    try:
        yield
    except OpsError:
        raise
    except grpc.RpcError as error:
        code = error.code() if callable(getattr(error, "code", None)) else None
        if code in _NO_RIGHTS:
            raise _refused(doing, where, _words(error)) from error
        raise _unreachable(doing, where, _words(error)) from error
    except grpc.FutureTimeoutError as error:
        raise _unreachable(doing, where, "no answer in time") from error
    except MilvusException as error:
        raise _of_milvus(error, doing, where) from error
    except (ValueError, TypeError) as error:
        if "closed channel" in str(error):
            raise _unreachable(doing, where, str(error)) from error
        raise SchemaMismatch(
            f"Milvus at {where} cannot {doing}: {_short(str(error))}",
            remedy="compare the rows and the collection's fields with the declaration",
        ) from error


def _of_milvus(error: MilvusException, doing: str, where: str) -> OpsError:
    words = _short(str(error.message or error))
    lower = words.lower()
    if isinstance(error.code, grpc.StatusCode):
        return (_refused if error.code in _NO_RIGHTS else _unreachable)(doing, where, words)
    if isinstance(error, ConnectError | MilvusUnavailableException) or any(word in lower for word in _GONE):
        return _unreachable(doing, where, words)
    if (
        isinstance(error, DataNotMatchException | ParamError)
        or error.code in _ARGUMENT
        or any(word in lower for word in _WRONG)
    ):
        return SchemaMismatch(
            f"Milvus at {where} cannot {doing}: {words}",
            remedy="compare the rows, and the collection's fields and index, with the declaration",
        )
    if error.code == _NOT_LOADED or "not loaded" in lower:
        return Refused(
            f"Milvus at {where} cannot {doing}: the collection is not loaded",
            remedy="load it: a deploy of the stack loads its collections",
        )
    if error.code in _NOT_FOUND:
        return Refused(
            f"Milvus at {where} cannot {doing}: {words}",
            remedy="check the collection's name and database in the declaration; a deploy creates it",
        )
    return _refused(doing, where, words)


def _unreachable(doing: str, where: str, words: str) -> Unreachable:
    return Unreachable(
        f"Milvus at {where} does not answer (tried to {doing}: {words})",
        remedy="check that the server runs, and the component's address and port in the declaration",
    )


def _refused(doing: str, where: str, words: str) -> Refused:
    return Refused(
        f"Milvus at {where} refused to {doing}: {words}",
        remedy="check the token, the user's rights and the database in the declaration",
    )


def _words(error: Exception) -> str:
    details = getattr(error, "details", None)
    return _short(str(details() if callable(details) else error))


def _short(text: str) -> str:
    return " ".join(text.split())[:300]
