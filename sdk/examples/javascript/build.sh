#!/usr/bin/env bash
# Builds the driver with pinned tools.
#   ./build.sh          installs the tools if they are missing, and makes build/javascript-example.wasm
#   ./build.sh tools    only installs the tools
# OSTLER names the command `ostler`, BUILD the folder of all that is made, TOOLS that of the tools.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ostler=${OSTLER:-ostler}
build=$(realpath -m "${BUILD:-$here/build}")
tools=$(realpath -m "${TOOLS:-$build/tools}")

# The list of the tools is kept beside them when they are complete. So tools that are half installed,
# or old, are installed anew.
install_tools() {
  cmp -s "$here/package-lock.json" "$tools/installed" && return
  rm -rf "$tools"
  mkdir -p "$tools"
  cp "$here/package.json" "$here/package-lock.json" "$tools/"
  npm ci --prefix "$tools" --silent --ignore-scripts --no-audit --no-fund
  cp "$here/package-lock.json" "$tools/installed"
}

install_tools
[[ ${1:-} != tools ]] || exit 0

# The contract, beside the world of the driver.
rm -rf "$build/wit"
mkdir -p "$build/wit"
cp "$here"/wit/*.wit "$build/wit/"
"$ostler" plugin wit "$build/wit/deps/ostler-driver" >/dev/null

# The host links WASI with nothing behind it. So its parts are left out, and the component imports the
# contract alone.
node "$tools/node_modules/@bytecodealliance/componentize-js/src/cli.js" "$here/driver.js" \
  --wit "$build/wit" --world-name driver --out "$build/component.wasm" \
  --disable stdio --disable random --disable clocks --disable http --disable fetch-event
"$ostler" plugin embed "$build/component.wasm" --manifest "$here/manifest.toml" \
  --to "$build/javascript-example.wasm"
