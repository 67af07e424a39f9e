#!/bin/sh
# Bazel gives its actions no home, so the cache has to be named.
export BACKLTO_CACHE_DIR=/var/cache/backlto
exec backlto cc clang-22 "$@"
