#!/usr/bin/env bash
# Builds the Debian package: packaging/build-deb.sh [--prebuilt BINARY] [--version VERSION] [--output DIRECTORY]
#
# Without --prebuilt, the program is built for release first. Installs cargo-deb if it is missing. Prints the package's path.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source-path=SCRIPTDIR/..
. netns-scripts/lib.sh

STAGE=target/package

main() {
    local binary="" version="" output=target/debian
    while [ $# -gt 0 ]; do
        case $1 in
            --prebuilt) binary=$2 ;;
            --version) version=$2 ;;
            --output) output=$2 ;;
            *) sed -n '2,4s/^# \{0,1\}//p' "packaging/build-deb.sh" >&2; exit 2 ;;
        esac
        shift 2
    done
    ensure_cargo_deb >&2
    if [ -z "$binary" ]; then
        cargo build --locked --release --bin nat64 >&2
        binary=${CARGO_TARGET_DIR:-target}/release/nat64
    fi
    stage "$binary"
    mkdir -p "$output"
    # shellcheck disable=SC2086  # nothing, or an option and its value
    cargo deb --quiet --no-build --no-strip --output "$output/" ${version:+--deb-version $version}
}

# Puts what the package's assets name together.
stage() {
    rm -rf "$STAGE"
    mkdir -p "$STAGE/completions"
    install -m 755 "$1" "$STAGE/nat64"
    strip "$STAGE/nat64" 2> /dev/null || true
    "$STAGE/nat64" man --directory "$STAGE/man"
    gzip -9n "$STAGE"/man/*.1
    local shell
    for shell in bash zsh fish; do
        "$STAGE/nat64" completions "$shell" > "$STAGE/completions/$shell"
    done
    # What the example turns on stays off until the operator says what is to be translated, and who is asked.
    sed -E 's/^(pool4|upstreams) = /#&/' packaging/nat64.toml > "$STAGE/nat64.toml"
}

main "$@"
