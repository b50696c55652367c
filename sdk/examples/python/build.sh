#!/usr/bin/env bash
# Builds the driver with pinned tools.
#   ./build.sh          installs the tools if they are missing, and makes build/python-example.wasm
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
  cmp -s "$here/requirements.txt" "$tools/installed" && return
  rm -rf "$tools"
  mkdir -p "$(dirname "$tools")"
  python3 -m venv "$tools"
  "$tools/bin/python" -m pip install --quiet --disable-pip-version-check \
    --require-hashes --only-binary :all: --requirement "$here/requirements.txt"
  cp "$here/requirements.txt" "$tools/installed"
}

install_tools
[[ ${1:-} != tools ]] || exit 0

# The contract, beside the world of the driver.
rm -rf "$build/wit"
mkdir -p "$build/wit"
cp "$here"/wit/*.wit "$build/wit/"
"$ostler" plugin wit "$build/wit/deps/ostler-driver" >/dev/null

"$tools/bin/componentize-py" --quiet --wit-path "$build/wit" --world driver \
  componentize --python-path "$here" --output "$build/component.wasm" driver
"$ostler" plugin embed "$build/component.wasm" --manifest "$here/manifest.toml" \
  --to "$build/python-example.wasm"
