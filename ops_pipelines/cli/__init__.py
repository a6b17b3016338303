"""`ops-pipelines`: the same engines without Dagster, for the day Dagster itself is down."""

from ops_pipelines.cli.root import main

__all__ = ["main"]
