"""ops-pipelines: operate self-hosted LLM stacks as Dagster assets."""
