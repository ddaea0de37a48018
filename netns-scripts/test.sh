#!/usr/bin/env bash
# Runs every test of the workspace, the ones in network namespaces included; installs what they need first. The last line is
# `N passed, N failed, N skipped`. Arguments go to `cargo test` (for example: netns-scripts/test.sh --test netns traceroute).
#
# Without root the tests that need namespaces are skipped, each with a line that says so.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

main() {
    if [ "$(id -u)" -eq 0 ]; then
        ensure_packages iproute2:ip procps:sysctl iputils-ping:ping traceroute:traceroute curl:curl tcpdump:tcpdump tshark:tshark \
            bind9-dnsutils:dig nginx-light:nginx nsd:nsd iperf3:iperf3 ethtool:ethtool nftables:nft util-linux:setpriv \
            containernetworking-plugins:/usr/lib/cni/bridge prometheus:prometheus nfdump:nfdump tshark:tshark tmux:tmux rsyslog:rsyslogd \
            knot-dnsutils:kdig unbound:unbound bind9-utils:dnssec-signzone \
            openssh-client:ssh openssh-server:sshd adduser:adduser binutils:strip dpkg-dev:dpkg-shlibdeps lintian:lintian \
            systemd:systemd-analyze jq:jq faketime:faketime skopeo:skopeo umoci:umoci
        ensure_cargo_deb
    else
        say "Not root: tests in network namespaces will be skipped."
    fi
    ensure_cargo
    local log status=0
    log=$(mktemp)
    # shellcheck disable=SC2064  # the name as it is now
    trap "rm -f '$log'" EXIT
    cd "$REPO"
    local selection=("$@")
    [ ${#selection[@]} -gt 0 ] || selection=(--workspace)
    cargo test --locked --no-fail-fast "${selection[@]}" </dev/null 2>&1 | tee "$log" || status=$?
    summary "$log"
    return "$status"
}

# summary LOG adds up cargo's result lines. A test that could not run here passes, and says `skipped: REASON (TEST)` on stderr.
summary() {
    awk '
        match($0, /skipped: .*/) && !seen[substr($0, RSTART)]++ { skipped++ }
        /^test result: / {
            for (i = 2; i <= NF; i++) {
                if ($i == "passed;") passed += $(i - 1)
                if ($i == "failed;") failed += $(i - 1)
                if ($i == "ignored;") ignored += $(i - 1)
            }
        }
        END { printf "%d passed, %d failed, %d skipped\n", passed - skipped, failed, skipped + ignored }' "$1"
}

main "$@"
