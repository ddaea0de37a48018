#!/usr/bin/env bash
# Shows the DNS64 scenarios of tests/dns to the Unbound and the BIND of Debian, each on a loopback port of its own, and writes
# what they make of them to tests/dns/others.toml and docs/compliance.md. Installs both if they are missing.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

main() {
    ensure_packages unbound:unbound bind9:named
    ensure_cargo
    cd "$REPO"
    UPDATE_OTHERS=1 cargo test --locked -p dns64 --test it others -- --ignored
    UPDATE_COMPLIANCE=1 cargo test --locked -p nat64 --test compliance
    say
    sed -n 's/^| | \*yes\* | \(.*\) |$/As the scenarios have it (Unbound | BIND): \1/p' docs/compliance.md
}

main "$@"
