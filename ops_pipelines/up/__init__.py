"""`ops-pipelines up`: the embedded default. Every service on 127.0.0.1, all state in one folder."""
