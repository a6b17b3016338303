"""What the people who build ops-pipelines use; nothing here is shipped."""
