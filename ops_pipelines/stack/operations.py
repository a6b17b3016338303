"""How a stack is looked after: backup, drill, observation, scaling, smoke test, messages."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ops_pipelines.stack.base import Declared
from ops_pipelines.stack.safeguards import Encrypt, Hooks
from ops_pipelines.stack.units import Duration, Name, Size

Cron = Annotated[str, Field(pattern=r"^\S+( \S+){4}$")] | None
"""Five fields: minute, hour, day of month, month, day of week. `null`: never by itself."""


class Keep(Declared):
    """Which snapshots stay: each that any of these rules keeps. The last verified one, the last drilled one and
    pinned ones always stay, and nothing goes while the latest backup has not succeeded."""

    days: Annotated[int, Field(ge=0)] = 30
    """All that are not older than so many days. 0: age keeps none."""
    last: Annotated[int, Field(ge=1)] = 3
    """At least so many of the newest stay, whatever their age."""
    daily: Annotated[int, Field(ge=0)] = 0
    """The newest of each of so many days that have any, in `backup.timezone`."""
    weekly: Annotated[int, Field(ge=0)] = 0
    """The newest of each of so many weeks (from Monday) that have any."""
    monthly: Annotated[int, Field(ge=0)] = 0
    """The newest of each of so many months that have any."""


class Transfer(Declared):
    """How bytes go to the bucket and come back."""

    parallel: Annotated[int, Field(ge=1, le=64)] = 8
    """Objects, and parts of a large one, that are on their way at once; of ranges read, four at most."""
    bandwidth: Annotated[Size, Field(ge=1)] | None = None
    """Bytes a second for what is sent, and as many for what is read; none is no limit."""
    connect_timeout: Duration = 5.0
    read_timeout: Duration = 60.0
    """How long a connection may stand still."""
    attempts: Annotated[int, Field(ge=1, le=20)] = 5
    """How often a request is tried, with growing, random pauses between, before the backup fails."""
    time_limit: Duration | None = None
    """A backup that takes longer sends nothing more and fails; the next one goes on where it was."""


class StoreEncryption(Declared):
    """How the store is asked to encrypt what it keeps. `encrypt` is what is encrypted here, before it is sent."""

    kind: Literal["s3", "kms", "customer"]
    """`s3`: by its own key. `kms`: by one of its key service. `customer`: by a key sent with each request, which
    the store does not keep: without it no snapshot can be read."""
    kms_key: str | None = None
    """Name or ARN of the key of the key service; none is the bucket's default."""
    key: Name | None = None
    """Secret with the customer's key: 32 bytes in base64 (`openssl rand -base64 32`)."""


class Backup(Declared):
    """Where snapshots go, when, and how long they stay."""

    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    prefix: str = ""
    endpoint: str | None = None
    """URL of an S3 store; none means Amazon's."""
    region: str = "us-east-1"
    access_key: Name | None = None
    """Secret with the access key; without both, the credentials of the environment are used."""
    secret_key: Name | None = None
    session_token: Name | None = None
    """Secret with the token of temporary credentials, beside their two keys."""
    path_style: bool = True
    """False: the bucket is part of the host's name (`https://BUCKET.HOST`)."""
    ca_bundle: str | None = None
    """File with the authority that signed the store's certificate, relative to the stack file."""
    store_encryption: StoreEncryption | None = None
    conditional_writes: Literal["required", "none"] = "required"
    """`none`, for a store that has none: you declare that only one machine ever works on this bucket at a time.
    A second writer is then noticed late or not at all."""
    transfer: Transfer = Transfer()
    schedule: Cron = "0 2 * * *"
    timezone: str = "UTC"
    keep: Keep = Keep()
    configuration: list[str] = Field(default_factory=list)
    """Files kept in the snapshot beside the stack file, relative to it."""
    lease: Duration = 60.0
    """Seconds after which a holder that is gone loses the stack's lease (at least 30)."""
    verify_schedule: Cron = "0 5 * * *"
    prune_schedule: Cron = "30 5 * * *"
    hooks: Hooks = Hooks()
    """What holds the whole stack still while its parts are read."""
    encrypt: Encrypt | None = None


class Objectives(Declared):
    """What a drill must not exceed; it fails where it does. The snapshot is not marked as failed for that."""

    rto: Annotated[Duration, Field(gt=0)] | None = None
    """Seconds that a restore may take, from the first byte fetched to the last answer."""
    rpo: Annotated[Duration, Field(gt=0)] | None = None
    """Age that the newest snapshot may have when a drill begins."""


class Drill(Declared):
    """Restores that prove the snapshots."""

    schedule: Cron = "0 3 * * *"
    """The light one: the newest snapshot, vectors sampled."""
    full_schedule: Cron = "0 4 * * 0"
    """The full one: every row, every blob."""
    timezone: str = "UTC"
    recall_at_10: Annotated[float, Field(ge=0, le=1)] = 0.95
    """Share of the kept answers' top ten that must come back."""
    questions: list[str] = Field(default_factory=list)
    """Questions asked at backup and again in the drill. Without them, texts of the collection are used."""
    sample: Annotated[int, Field(ge=1)] = 1000
    """Rows compared one by one in a light drill."""
    pick: Literal["newest", "random"] = "newest"
    """Snapshot that is drilled where none is named. `random`: now and then an older one, by `older`."""
    older: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Share of drills that take an older snapshot, with `pick: random`."""
    folder: str | None = None
    """Folder for the throw-away places. Default: below the home folder."""
    space: Size | None = None
    """Bytes that the throw-away places may take. It is looked at, and the disk too, before anything is fetched."""
    time_limit: Annotated[Duration, Field(gt=0)] = 14400.0
    """Seconds after which a drill is given up; its verdict is then `unknown`."""
    objectives: Objectives = Objectives()


class Observe(Declared):
    """When the live stack is compared with its declaration."""

    schedule: Cron = "0 * * * *"
    timezone: str = "UTC"


class Signal(Declared):
    """One measured quantity that scaling goes by."""

    query: str
    """A PromQL expression (source is a server); on a metrics page `name{label="value"}`, or
    `mean(histogram)` for the mean of what was observed since the reading before."""
    source: str | None = None
    """Where this one is read, if not at the component's source."""
    target: Annotated[float, Field(gt=0)]
    """Value, for the whole component or per replica as the query gives it, that is wanted."""
    aggregate: Literal["avg", "max", "sum", "min"] = "avg"
    """How several series of one answer become one number."""
    weight: Annotated[float, Field(ge=0)] = 1.0
    """Share in the policy `weighted`."""
    floor: bool = False
    """The reading must stay above the target (free memory), not below it. A breach stops scaling up."""
    stale_after: Duration = 120.0
    """Age from which a reading is unknown."""


class Scaling(Declared):
    """How many replicas one component has, decided from readings."""

    component: Name
    owner: Literal["ops-pipelines", "hpa", "keda"] = "ops-pipelines"
    """Who changes the replicas. Only one may."""
    mode: Literal["observe", "approve", "auto"] = "observe"
    minimum: Annotated[int, Field(ge=0)] = 1
    maximum: Annotated[int, Field(ge=1)] = 1
    policy: Literal["saturation", "weighted"] = "saturation"
    """`saturation`: the most loaded signal decides. `weighted`: the mean rule of the Obelisk guide."""
    source: str
    """URL of a Prometheus server, or of a page in its text format (ending in /metrics). `{port.NAME}` stands
    for that port of each replica of the component: their pages are then read as one."""
    signals: dict[Name, Signal]
    every: Duration = 30.0
    cooldown: Duration = 300.0
    """Seconds after a change before replicas may be removed."""
    step_up: Annotated[float, Field(gt=0)] = 0.5
    """Largest growth in one step, as a share of the replicas."""
    step_down: Annotated[float, Field(gt=0, le=1)] = 0.3
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Readings within this share of their target change nothing."""


class Smoke(Declared):
    """What a deployed stack must answer before a deploy counts as done."""

    model: Name
    """Model that is asked for an embedding or an answer."""
    text: str = "Is anybody there?"
    collection: Name | None = None
    """Collection that is then searched with the vector, where it is an embedding."""


class Notify(Declared):
    """Where failures are told (any URL that Apprise knows)."""

    urls: list[Name] = Field(default_factory=list)
    """Secrets whose values are the URLs."""
