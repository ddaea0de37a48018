#!/usr/bin/env bash
# How fast packets go through the gateway: plain kernel IPv6 forwarding, the kernel's NAT44, TAYGA with that NAT44 behind
# it, and `nat64 run`, in the same topology and the same minutes. Each round measures every row once for every way, so that
# a machine whose speed drifts does so for all of them. Needs root on Debian 12; installs what it compares with.
#
#   netns-scripts/bench.sh [--rounds N] [--seconds S] [--rows "tcp udp …"] [--ways "forward6 …"]
#                          [--samples FILE] [--json FILE] [--chart FILE]
#
# --rows      tcp udp cpu http rtt lossless establish capacity; all by default
# --ways      forward6 nat44 tayga nat64; all by default
# --samples   keep what is measured in FILE; what an earlier run left there counts as rounds of this one
# --json      write the result there, --chart an SVG of it
#
# NAT64_BIN=/path/to/nat64 and PACKET_RATE_BIN=/path/to/packet-rate are used instead of building them.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/bench/ways.sh"
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/bench/rows.sh"

PREFIX=n64bench
ROUNDS=3
DURATION=2
ROWS=(tcp udp cpu http rtt lossless establish capacity)
WAYS=(forward6 nat44 tayga nat64)
SAMPLES=""
JSON=""
CHART=""

main() {
    options "$@"
    need_root
    ensure_packages iproute2:ip procps:sysctl iperf3:iperf3 jq:jq bsdextrautils:column nginx-light:nginx wrk:wrk \
        iputils-ping:ping nftables:nft tayga:tayga conntrack:conntrack
    NAT64=$(nat64_binary)
    PACKET_RATE=$(packet_rate_binary)
    lab_open
    : "${SAMPLES:=$LAB_DIR/samples}"
    lay_out
    local way
    for way in "${WAYS[@]}"; do
        "start_$way"
        during "$way" warm_up "$way"
    done
    measure_all
    report
}

options() {
    while [ $# -gt 0 ]; do
        case $1 in
            --rounds) ROUNDS=$2 ;;
            --seconds) DURATION=$2 ;;
            --rows) read -ra ROWS <<<"$2" ;;
            --ways) read -ra WAYS <<<"$2" ;;
            --samples) SAMPLES=$2 ;;
            --json) JSON=$2 ;;
            --chart) CHART=$2 ;;
            *) die "unknown option $1; there are --rounds, --seconds, --rows, --ways, --samples, --json and --chart" ;;
        esac
        shift 2 || die "the last option lacks its value"
    done
    local name
    for name in "${ROWS[@]}"; do declare -F "row_$name" >/dev/null || die "there is no row $name"; done
    for name in "${WAYS[@]}"; do declare -F "start_$name" >/dev/null || die "there is no way $name"; done
}

packet_rate_binary() {
    if [ -n "${PACKET_RATE_BIN:-}" ]; then
        [ -x "$PACKET_RATE_BIN" ] || die "PACKET_RATE_BIN=$PACKET_RATE_BIN is not an executable file"
        printf '%s\n' "$PACKET_RATE_BIN"
        return
    fi
    ensure_cargo >&2
    (cd "$REPO" && cargo build --release --locked -p nat64-dataplane --example packet-rate) >&2 || die "cargo build failed"
    printf '%s/release/examples/packet-rate\n' "${CARGO_TARGET_DIR:-$REPO/target}"
}

# client ── gateway ── server, each cable a veth pair of MTU 1500. The server has IPv6 for the one way that needs it.
lay_out() {
    ns_add client gateway server
    wire client eth0 gateway lan 1500
    wire gateway wan server eth0 1500
    ip -n "$LAB-client" addr add "$CLIENT6/64" dev eth0
    ip -n "$LAB-client" addr add "$CLIENT4/16" dev eth0
    ip -n "$LAB-gateway" addr add 2001:db8:1::1/64 dev lan
    ip -n "$LAB-gateway" addr add 10.64.0.1/16 dev lan
    ip -n "$LAB-gateway" addr add 2001:db8:2::1/64 dev wan
    ip -n "$LAB-gateway" addr add 198.51.100.1/24 dev wan
    ip -n "$LAB-server" addr add "$SERVER6/64" dev eth0
    ip -n "$LAB-server" addr add "$SERVER4/24" dev eth0
    ip -n "$LAB-client" -6 route add default via 2001:db8:1::1
    ip -n "$LAB-client" route add default via 10.64.0.1
    ip -n "$LAB-server" -6 route add default via 2001:db8:2::1
    ip -n "$LAB-server" route add default via 198.51.100.1
    in_ns gateway sysctl -qw net.ipv6.conf.all.forwarding=1 net.ipv4.ip_forward=1
    start server iperf3 iperf3 --server
    wait_for 10 "iperf3 to listen" listens_on server 5201 || die "iperf3 did not start"
    mkdir -p "$LAB_DIR/www"
    printf 'ok\n' >"$LAB_DIR/www/index.html"
    web_server server
}

measure_all() {
    local round row
    for ((round = 1; round <= ROUNDS; round++)); do
        for row in "${ROWS[@]}"; do "row_$row"; done
    done
}

# sample ROW UNIT MEASURE... runs MEASURE for every way, with the way as its first argument, and keeps what it prints.
sample() {
    local row=$1 unit=$2 way value
    shift 2
    for way in "${WAYS[@]}"; do
        value=$(during "$way" "$1" "$way" "${@:2}")
        [[ $value =~ ^[0-9.]+$ ]] || die "$row, $way: measured \"$value\""
        printf '{"run":%d,"round":%d,"row":"%s","unit":"%s","way":"%s","value":%s}\n' \
            $$ "$round" "$row" "$unit" "$way" "$value" >>"$SAMPLES"
        printf 'round %d/%d  %-14s %-8s %12s %s\n' "$round" "$ROUNDS" "$row" "$way" "$value" "$unit" >&2
    done
}

# report prints the table of medians, writes JSON and chart, and fails if nat64 is below the least that is asked of it.
report() {
    local result=$LAB_DIR/result.json
    jq -s --arg kernel "$(uname -r)" --argjson cores "$(nproc)" --argjson seconds "$DURATION" \
        -f "$REPO/netns-scripts/bench/report.jq" "$SAMPLES" >"$result"
    say
    jq -r '"Medians of \(.rounds) rounds of \(.seconds) s; Linux \(.kernel), \(.cores) cores"' "$result"
    jq -r -f "$REPO/netns-scripts/bench/table.jq" "$result" | column -t -s '|'
    if [ -n "$JSON" ]; then cp "$result" "$JSON" && say "Written: $JSON"; fi
    if [ -n "$CHART" ]; then jq -r -f "$REPO/netns-scripts/bench/chart.jq" "$result" >"$CHART" && say "Written: $CHART"; fi
    jq -e '[.rows[] | select(.met == false)] == []' "$result" >/dev/null ||
        die "nat64 is below what is asked of it in: $(jq -r '[.rows[] | select(.met == false).row] | join(", ")' "$result")"
}

main "$@"
