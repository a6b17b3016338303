#!/bin/sh
# Starts ClickHouse's engine with the user and password of the variables, on the folder of the volume.
exec python3 /clickhouse.py /var/lib/clickhouse/chdb 8123 "${CLICKHOUSE_USER:-default}" "${CLICKHOUSE_PASSWORD:-}" 0.0.0.0
