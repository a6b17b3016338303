"""References of databases, backup, drill, smoke test, messages and scaling."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from ops_pipelines.policy._link_problem import LinkProblem, known_words, no_component, no_secret
from ops_pipelines.stack.data import Database
from ops_pipelines.stack.model import Stack
from ops_pipelines.stack.operations import Backup
from ops_pipelines.stack.safeguards import Encrypt, Hooks, PartOptions

_LEASE = 30.0


def database_links(stack: Stack) -> Iterator[LinkProblem]:
    """Databases and the servers and secrets that they name."""
    for name, database in stack.databases.items():
        where = f"databases.{name}"
        server = stack.components.get(database.component)
        if server is None:
            yield no_component(
                stack, f"{where}.component", database.component, "the database is on no server"
            )
        elif server.kind != database.kind:
            yield LinkProblem(
                f"{where}.component", f"{database.component}, which is of kind {server.kind}",
                f"it serves no {database.kind} database", f"name a component of kind {database.kind}",
            )  # fmt: skip
        if database.kind == "redis" and database.name and not database.name.isdecimal():
            yield LinkProblem(
                f"{where}.name", f"`{database.name}`", "Redis numbers its logical databases",
                "write the number of one, or take it out for all of them",
            )  # fmt: skip
        if database.kind == "redis" and database.probes:
            yield LinkProblem(f"{where}.probes", "probes in SQL", "Redis answers no SQL",
                              "take them out: its keys are compared anyway")  # fmt: skip
        if database.ca_bundle is not None and (
            database.kind != "redis" or (server and not (server.address or "").startswith("rediss://"))
        ):
            yield LinkProblem(
                f"{where}.ca_bundle", "an authority for a server that is asked in clear", "it would prove nothing",
                "write the `address` of a Redis as rediss://HOST:PORT, or take it out",
            )  # fmt: skip
        yield from _handover(stack, f"{where}.handover", database)
        if database.password is not None:
            yield from no_secret(stack, f"{where}.password", database.password)


def safeguard_links(stack: Stack) -> Iterator[LinkProblem]:
    """Secrets that parts need, and that hooks are given."""
    sections: dict[str, Mapping[str, PartOptions]] = {
        "caches": stack.caches, "collections": stack.collections, "databases": stack.databases,
        "volumes": stack.volumes, "buckets": stack.buckets,
    }  # fmt: skip
    for section, parts in sections.items():
        for name, part in parts.items():
            where = f"{section}.{name}"
            for index, secret in enumerate(part.needs):
                yield from no_secret(stack, f"{where}.needs.{index}", secret)
            yield from _hooks(stack, f"{where}.hooks", part.hooks)
    if stack.backup is not None:
        yield from _hooks(stack, "backup.hooks", stack.backup.hooks)
        yield from _encrypt(stack, stack.backup.encrypt)


def _encrypt(stack: Stack, encrypt: Encrypt | None) -> Iterator[LinkProblem]:
    """What is to be encrypted must be there, and the secrets be declared."""
    if encrypt is None:
        return
    names = encrypt.secrets if isinstance(encrypt.secrets, list) else []
    for index, name in enumerate(names):
        yield from no_secret(stack, f"backup.encrypt.secrets.{index}", name)
    if encrypt.identity is not None:
        yield from no_secret(stack, "backup.encrypt.identity", encrypt.identity)
    sections: dict[str, Mapping[str, object]] = {
        "model_cache": stack.caches, "collection": stack.collections, "database": stack.databases,
        "volume": stack.volumes, "bucket": stack.buckets, "configuration": {stack.stack: None},
    }  # fmt: skip
    known = {f"{kind}/{name}" for kind, section in sections.items() for name in section}
    for index, word in enumerate(encrypt.parts):
        if "/" in word and word not in known:
            yield LinkProblem(
                f"backup.encrypt.parts.{index}", f"no part `{word}`", "it would lie in clear, under another name",
                known_words(word, known, "parts of the backup"),
            )  # fmt: skip


def _hooks(stack: Stack, where: str, hooks: Hooks) -> Iterator[LinkProblem]:
    for when, several in (("before", hooks.before), ("after", hooks.after)):
        for index, hook in enumerate(several):
            for word, secret in hook.secrets.items():
                yield from no_secret(stack, f"{where}.{when}.{index}.secrets.{word}", secret)


def _handover(stack: Stack, where: str, database: Database) -> Iterator[LinkProblem]:
    """Keys of the bucket through which a server hands over its backups."""
    given = {"access_key": database.handover.access_key, "secret_key": database.handover.secret_key}
    if any(given.values()) and not all(given.values()):
        absent = next(word for word, secret in given.items() if secret is None)
        yield LinkProblem(
            where, f"no `{absent}`", "one key without the other opens no bucket", f"add `{absent}: …`"
        )
    for word, secret in given.items():
        if secret is not None:
            yield from no_secret(stack, f"{where}.{word}", secret)


def operation_links(stack: Stack) -> Iterator[LinkProblem]:
    """Backup, smoke test, messages and drill."""
    backup = stack.backup
    if backup is not None:
        keys = {"access_key": backup.access_key, "secret_key": backup.secret_key}
        yield from _backup_more(stack, backup)
        for word, secret in keys.items():
            if secret is not None:
                yield from no_secret(stack, f"backup.{word}", secret)
        if (backup.access_key is None) != (backup.secret_key is None):
            absent = next(word for word, secret in keys.items() if secret is None)
            yield LinkProblem(
                "backup", f"no `{absent}`", "one key without the other opens no bucket",
                f"add `{absent}: …`, or leave both out to use the credentials of the environment",
            )  # fmt: skip
        if backup.lease < _LEASE:
            yield LinkProblem(
                "backup.lease", f"{backup.lease:g} s", "a slow answer of the store would lose the lease",
                f"make it {_LEASE:g}s or longer",
            )  # fmt: skip
        yield from url_link(
            "backup.endpoint", backup.endpoint, "no bucket could be reached", "null for Amazon's"
        )
    if stack.smoke is not None:
        yield from _smoke(stack)
    for index, secret in enumerate(stack.notify.urls):
        yield from no_secret(stack, f"notify.urls.{index}", secret)
    yield from _drill(stack)


def _backup_more(stack: Stack, backup: Backup) -> Iterator[LinkProblem]:
    """The session token and the encryption: what one needs of the others."""
    if backup.session_token is not None:
        yield from no_secret(stack, "backup.session_token", backup.session_token)
        if backup.access_key is None:
            yield LinkProblem(
                "backup.session_token", "a token without keys", "it belongs to two keys, and is refused without",
                "add `access_key: …` and `secret_key: …`",
            )  # fmt: skip
    wanted = backup.store_encryption
    if wanted is None:
        return
    if wanted.key is not None:
        yield from no_secret(stack, "backup.store_encryption.key", wanted.key)
    if wanted.kind == "customer" and wanted.key is None:
        yield LinkProblem(
            "backup.store_encryption", "kind `customer` and no `key`", "there is nothing to encrypt with",
            "add `key: NAME` of a secret with 32 bytes in base64",
        )  # fmt: skip
    if wanted.kind != "customer" and wanted.key is not None:
        yield LinkProblem(
            "backup.store_encryption.key", f"a key, and kind `{wanted.kind}`", "it would not be used",
            "make the kind `customer`, or take the key out",
        )  # fmt: skip
    if wanted.kind != "kms" and wanted.kms_key is not None:
        yield LinkProblem(
            "backup.store_encryption.kms_key", f"a key, and kind `{wanted.kind}`", "it would not be used",
            "make the kind `kms`, or take it out",
        )  # fmt: skip


def _smoke(stack: Stack) -> Iterator[LinkProblem]:
    smoke = stack.smoke
    if smoke is None:
        return
    model = stack.models.get(smoke.model)
    if model is None:
        found, breaks = f"no model `{smoke.model}`", "no deploy could be shown to work"
        yield LinkProblem("smoke.model", found, breaks, known_words(smoke.model, stack.models, "models"))
    elif model.served_by is None:
        yield LinkProblem(
            "smoke.model", f"{smoke.model}, which no component serves", "there is nobody to ask",
            f"set models.{smoke.model}.served_by",
        )  # fmt: skip
    if smoke.collection is None:
        return
    collection = stack.collections.get(smoke.collection)
    if collection is None:
        yield LinkProblem(
            "smoke.collection", f"no collection `{smoke.collection}`", "there is nothing to search",
            known_words(smoke.collection, stack.collections, "collections"),
        )  # fmt: skip
    elif collection.embedding != smoke.model and model is not None:
        yield LinkProblem(
            "smoke.collection", f"{smoke.collection}, which holds vectors of {collection.embedding or 'no model'}",
            f"a vector of {smoke.model} cannot be searched in it",
            f"ask {collection.embedding} in smoke.model, or leave the collection out",
        )  # fmt: skip


def _drill(stack: Stack) -> Iterator[LinkProblem]:
    questions = stack.drill.questions
    for index, question in enumerate(questions):
        if not question.strip():
            yield LinkProblem(
                f"drill.questions.{index}", "an empty question", "nothing can be asked with it", "write one"
            )
    for question, count in Counter(questions).items():
        if count > 1:
            index = len(questions) - 1 - questions[::-1].index(question)
            yield LinkProblem(
                f"drill.questions.{index}", f"{question!r} again", "it proves nothing twice", "write another",
                "warning",
            )  # fmt: skip
    asked = any(each.embedding and each.backup for each in stack.collections.values())
    if questions and not asked:
        yield LinkProblem(
            "drill.questions", "questions, and no collection with `embedding` that is backed up",
            "they are asked of nothing", "set `embedding` of a collection, or take the questions out", "warning",
        )  # fmt: skip


def scaling_links(stack: Stack) -> Iterator[LinkProblem]:
    """Scaling rules: their component, their bounds, where their readings come from."""
    owners: dict[str, str] = {}
    for name, rule in stack.scaling.items():
        where = f"scaling.{name}"
        component = stack.components.get(rule.component)
        if component is None:
            yield no_component(stack, f"{where}.component", rule.component, "there is nothing to scale")
        elif component.address is not None and rule.owner == "ops-pipelines":
            yield LinkProblem(
                f"{where}.component", f"{rule.component}, which runs elsewhere (it has an `address`)",
                "its replicas are not this stack's to change", "scale it where it runs, and remove this rule",
            )  # fmt: skip
        if rule.component in owners:
            yield LinkProblem(
                f"{where}.component", f"{rule.component}, which scaling.{owners[rule.component]} scales too",
                "two owners of one number undo each other's changes", "leave one rule for each component",
            )  # fmt: skip
        owners.setdefault(rule.component, name)
        if rule.minimum > rule.maximum:
            yield LinkProblem(
                f"{where}.minimum", f"{rule.minimum}, above the maximum of {rule.maximum}",
                "no number of replicas would do", "make it the maximum at most",
            )  # fmt: skip
        if not rule.signals:
            yield LinkProblem(f"{where}.signals", "no signals", "nothing could be decided", "add a signal")
        elif rule.policy == "weighted" and not any(signal.weight for signal in rule.signals.values()):
            yield LinkProblem(
                f"{where}.signals", "no weight above 0", "the weighted mean would be of nothing",
                "give a signal a weight",
            )  # fmt: skip
        ports: Mapping[str, int] = component.ports if component else {}
        for path, source in [(f"{where}.source", rule.source)] + [
            (f"{where}.signals.{word}.source", signal.source or "") for word, signal in rule.signals.items()
        ]:
            yield from _source(path, source, ports)


def _source(path: str, source: str, ports: Mapping[str, int]) -> Iterator[LinkProblem]:
    for word in source.split("{port.")[1:]:
        port = word.partition("}")[0]
        if port not in ports:
            yield LinkProblem(
                path, f"no port `{port}`", "no reading could be taken",
                known_words(port, ports, "ports of the component"),
            )  # fmt: skip
    if source and "{" not in source:
        yield from url_link(path, source, "no reading could be taken")


def url_link(path: str, text: str | None, breaks: str, other: str = "") -> Iterator[LinkProblem]:
    """A problem where a text is no URL of a server."""
    if text is None:
        return
    try:
        parts = urlsplit(text)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        # Not shown: a URL may hold a password.
        remedy = "write http://HOST:PORT" + (f", or {other}" if other else "")
        yield LinkProblem(path, "a text that is no URL of a server", breaks, remedy)
