#!/bin/sh
# Starts LiteLLM's proxy with the container's arguments. Its database needs Prisma's engine, which is not here.
[ -z "${DATABASE_URL:-}" ] || echo 'no engine of Prisma is here: LiteLLM runs without its database' >&2
unset DATABASE_URL
exec litellm "$@"
