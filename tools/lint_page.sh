#!/bin/sh
# Lints the modules of the page with biome, which npm installs in the version of package-lock.json. `make check` runs it.
set -eu
if [ ! -x node_modules/.bin/biome ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
    if ! command -v npm >/dev/null; then
        echo "npm is missing, the page's modules were not linted: apt-get install npm" >&2
        exit 0
    fi
    if ! npm ci --silent; then
        echo "npm ci failed, the page's modules were not linted" >&2
        exit 0
    fi
fi
node_modules/.bin/biome lint --error-on-warnings kvd/gateways/http/ui tests/gateways/http/ui/modules
