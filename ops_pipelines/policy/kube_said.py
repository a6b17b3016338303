"""What Helm said when it failed, in short, and what mends it.

The phrases are those of Helm 3.18 to 4.3 and of Kubernetes 1.28 to 1.37; one that is not known is shown as it is.
"""

from __future__ import annotations

import re

_BEGINS = re.compile(r"^(Error|error):? ")
_LOG = re.compile(r"^(level=|time=|[IWEF]\d{4} |WARNING|coalesce\.go)")
_REMEDIES = (
    (
        r"another operation \(install/upgrade/rollback\) is in progress",
        "somebody else changes this release with Helm: wait for it, then deploy again",
    ),
    (
        r"conflict(s)? with \"|Apply failed with \d+ conflict",
        "somebody else set those fields (the words name who): let one of the two own them, or set "
        "target.force_conflicts to take them over",
    ),
    (
        r"is being terminated|because it is being terminated",
        "wait until the namespace is gone, then deploy again: a deploy makes it anew",
    ),
    (r"admission webhook", "do what the webhook asks, or ask whoever runs it"),
    (r"Forbidden: updates to statefulset spec|field is immutable", "see what a plan says about it: that field of what "
     "is there cannot be changed, only made anew"),
    (r"exceeded quota", "raise the ResourceQuota, or ask for less"),
    (r"is forbidden|cannot (get|list|create|patch|update|delete|watch) resource",
     "give this user the right (docs/reference/kubernetes-rights.md lists all that are needed)"),
    (r"no matches for kind|ensure CRDs are installed first",
     "install the CustomResourceDefinitions that the chart needs"),
    (r"Unauthorized|the server has asked for the client to provide credentials", "log in anew: the credentials of the "
     "kubeconfig have expired"),
    (r"invalid ownership metadata|exists and cannot be imported", "it is there already and is not this release's: "
     "remove it, or name the release that it is of"),
    (r"connection refused|cluster unreachable|i/o timeout|EOF$", "look at the API server, which went away meanwhile; "
     "then deploy again"),
    (r"values don't meet the specifications of the schema", "correct the values that it names"),
    (r"execution error at|parse error at|template: ", "correct the values, or the chart's template that it names"),
    (r"timed out waiting|context deadline exceeded|BackoffLimitExceeded|pre-upgrade hooks failed|post-upgrade hooks "
     r"failed|install hooks failed", "look at the log of the hook's Job, mend it, then deploy again"),
)  # fmt: skip


def in_short(output: str) -> str:
    """The error among what a command printed: from its first line on; else the last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip() and not _LOG.match(line.strip())]
    begun = next((place for place, line in enumerate(lines) if _BEGINS.match(line)), None)
    if begun is None:
        return lines[-1] if lines else ""
    return _BEGINS.sub("", " ".join(lines[begun:]))[:1500]


def remedy_for(output: str, default: str) -> str:
    """What mends it; `default` where that is not known."""
    return next(
        (words for phrase, words in _REMEDIES if re.search(phrase, output, re.IGNORECASE | re.MULTILINE)),
        default,
    )
