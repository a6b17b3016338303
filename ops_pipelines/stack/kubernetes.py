"""Target `kubernetes`: a cluster, and what of it is a stack's."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ops_pipelines.stack.base import Declared
from ops_pipelines.stack.units import Duration, Name, Size

Workload = Annotated[str, Field(pattern=r"^(Deployment|StatefulSet|DaemonSet)/[a-z0-9.-]+$")]
"""`Deployment/NAME`, `StatefulSet/NAME`, `DaemonSet/NAME`."""


class ClusterMoves(Declared):
    """How the data in a release's volumes is read and put back: by a Job beside them."""

    image: str | None = None
    """Image of such a Job, built by deploy/platform/Dockerfile (target `data`)."""
    service_account: Name = "default"
    """ServiceAccount that it runs as; it asks nothing of the API server."""
    endpoint: str | None = None
    """URL of the bucket's store as the cluster reaches it, where that is another than the backup's."""
    memory: Size = 2 * 1024**3
    """Memory that it may use."""
    cpus: Annotated[float, Field(gt=0)] = 2.0
    """Cores that it may use."""


class KubernetesTarget(Declared):
    """A cluster, through Helm."""

    kind: Literal["kubernetes"]
    context: str
    """Context of the kubeconfig; the current context is never assumed. `in-cluster`: the cluster in which this process
    itself runs, by its pod's ServiceAccount."""
    namespace: Name
    release: Name
    chart: str | None = None
    """Path (relative to the stack file), `oci://` reference or REPO/NAME of the chart, or its name in `repository`."""
    manifests: list[str] = Field(default_factory=list)
    """Files of Kubernetes objects in place of a chart; they may be somebody else's, and are applied as a release."""
    version: str | None = None
    """Version of a chart that is not a path; needed for one."""
    repository: Annotated[str, Field(pattern=r"^https?://")] | None = None
    """URL of the repository of the chart."""
    values: list[str] = Field(default_factory=list)
    """Value files, in the order in which later ones override earlier ones."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Single values by their path (`ollama.image.tag`); they override the files."""
    set_secrets: dict[str, Name] = Field(default_factory=dict)
    """Path of a value -> name of the secret that it receives when the chart is applied. The value goes to Helm alone;
    charts that take the name of an existing Secret need none."""
    kubeconfig: str | None = None
    """Path of the kubeconfig; without it KUBECONFIG, else ~/.kube/config."""
    kubeconfig_secret: Name | None = None
    """Name of a declared secret whose value is the kubeconfig itself."""
    force_conflicts: bool = False
    """Whether a deploy takes over fields that somebody else set (server-side apply)."""
    create_namespace: bool = True
    """Whether a deploy makes the namespace where it is not there."""
    workloads: dict[Name, Workload] = Field(default_factory=dict)
    """Component -> workload that runs it. Without it: the one that is labelled `app.kubernetes.io/component: NAME`,
    else the one whose name is the component's, or ends with it."""
    replica_values: dict[Name, str] = Field(default_factory=dict)
    """Component -> path of the value that says how many replicas it has; without it the usual ones are tried
    (`components.NAME.replicas`, `NAME.replicas`, `NAME.replicaCount`, `replicaCount`)."""
    within: Duration | None = None
    """How long a deploy may take to become healthy; without it, what the components' `health.within` add up to."""
    unschedulable_within: Duration = 120.0
    """How long a pod may wait for a node before the deploy fails: as long as new nodes take, where any come."""
    data: ClusterMoves = ClusterMoves()
    """How the data in its volumes is moved."""

    @model_validator(mode="after")
    def _one_source(self) -> KubernetesTarget:
        if (self.chart is None) == (not self.manifests):
            raise ValueError("give either `chart` or `manifests`")
        if self.chart is None and (self.values or self.set or self.set_secrets):
            raise ValueError("`values`, `set` and `set_secrets` belong to a chart: `manifests` have none")
        if self.kubeconfig is not None and self.kubeconfig_secret is not None:
            raise ValueError("`kubeconfig` and `kubeconfig_secret` both name one: keep one of them")
        return self
