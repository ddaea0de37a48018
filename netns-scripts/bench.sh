#!/usr/bin/env bash
# How fast TCP goes through the gateway: plain kernel IPv6 forwarding against `nat64 run`, and against the kernel's NAT44 and
# TAYGA where those can run, in the same topology and the same minutes. Each round measures every way once, so that a machine
# whose speed drifts does so for all of them. Needs root on Debian 12.
#
#   netns-scripts/bench.sh [--rounds N] [--seconds S] [--ways "forward6 nat64 nat44 tayga"] [--json FILE]
#
# NAT64_BIN=/path/to/nat64 uses that binary instead of building one.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

PREFIX=n64bench
ROUNDS=3
DURATION=3
WAYS=(forward6 nat64 nat44 tayga)
declare -A ADDRESS          # of the server, by way
JSON=
TARGET=0.45                 # of plain forwarding, what nat64 has to reach
SHAPES=(1:up 1:down 4:up 4:down)

CLIENT6=2001:db8:1::10 CLIENT4=10.64.0.10
SERVER6=2001:db8:2::10 SERVER4=198.51.100.10

main() {
    options "$@"
    need_root
    ensure_packages iproute2:ip procps:sysctl iperf3:iperf3 jq:jq bsdextrautils:column
    if wants nat44 || wants tayga; then ensure_packages nftables:nft; fi
    if wants tayga; then ensure_packages tayga:tayga; fi
    if wants nat64; then NAT64=$(nat64_binary); fi
    lab_open
    lay_out
    local way
    for way in "${WAYS[@]}"; do "start_$way"; done
    for way in "${WAYS[@]}"; do warm_up "$way"; done
    measure_all
    report
}

options() {
    while [ $# -gt 0 ]; do
        case $1 in
            --rounds) ROUNDS=$2 ;;
            --seconds) DURATION=$2 ;;
            --ways) read -ra WAYS <<<"$2" ;;
            --json) JSON=$2 ;;
            *) die "unknown option $1; there are --rounds N, --seconds S, --ways \"...\" and --json FILE" ;;
        esac
        shift 2 || die "the last option lacks its value"
    done
}

wants() { [[ " ${WAYS[*]} " == *" $1 "* ]]; }

# client ── gateway ── server, each cable a veth pair of MTU 1500. The server has IPv6 for the one way that needs it.
lay_out() {
    ns_add client gateway server
    wire client eth0 gateway lan 1500
    wire gateway wan server eth0 1500
    ip -n "$LAB-client" addr add "$CLIENT6/64" dev eth0
    ip -n "$LAB-client" addr add "$CLIENT4/24" dev eth0
    ip -n "$LAB-gateway" addr add 2001:db8:1::1/64 dev lan
    ip -n "$LAB-gateway" addr add 10.64.0.1/24 dev lan
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
}

# ---- the ways: `start_WAY` sets one up beside the others, ADDRESS[WAY] is where the client finds the server then -----------

ADDRESS[forward6]=$SERVER6
start_forward6() { :; }

ADDRESS[nat64]=64:ff9b:1::c633:640a
start_nat64() {
    start gateway nat64 "$NAT64" run --pref64 64:ff9b:1::/96 --pool4 203.0.113.1 --control-socket "$LAB_DIR/nat64.sock"
    wait_for 15 "nat64 to be ready" in_ns gateway "$NAT64" status --control-socket "$LAB_DIR/nat64.sock" ||
        die "nat64 did not become ready: $(cat "$LAB_DIR/nat64.log")"
}

ADDRESS[nat44]=$SERVER4
start_nat44() { masquerade 10.64.0.0/24 nat44; }

# TAYGA translates without state, so the kernel has to share out the IPv4 address behind it.
ADDRESS[tayga]=2001:db8:64ff::c633:640a
start_tayga() {
    mkdir "$LAB_DIR/tayga"
    cat >"$LAB_DIR/tayga/tayga.conf" <<TAYGA
tun-device tayga
ipv4-addr 192.168.64.1
ipv6-addr 2001:db8:64fe::1
prefix 2001:db8:64ff::/96
dynamic-pool 192.168.64.0/24
data-dir $LAB_DIR/tayga
TAYGA
    in_ns gateway tayga --mktun --config "$LAB_DIR/tayga/tayga.conf" >/dev/null
    ip -n "$LAB-gateway" link set tayga up
    ip -n "$LAB-gateway" -6 route add 2001:db8:64ff::/96 dev tayga
    ip -n "$LAB-gateway" route add 192.168.64.0/24 dev tayga
    masquerade 192.168.64.0/24 tayga
    start gateway tayga tayga --nodetach --config "$LAB_DIR/tayga/tayga.conf"
}

masquerade() {
    in_ns gateway nft -f - <<NFT
table ip $2 {
    chain postrouting {
        type nat hook postrouting priority srcnat;
        oifname "wan" ip saddr $1 masquerade
    }
}
NFT
}

# ---- measuring -------------------------------------------------------------------------------------------------------------

# iperf WAY FLOWS DIRECTION SECONDS prints the bits per second that arrived.
iperf() {
    local way=$1 direction=() speed
    [ "$3" = up ] || direction=(--reverse)
    in_ns client timeout $(($4 + 20)) iperf3 --json --client "${ADDRESS[$way]}" --time "$4" --parallel "$2" "${direction[@]}" \
        >"$LAB_DIR/iperf.json" 2>&1 || die "$way: $(jq -r '.error // empty' "$LAB_DIR/iperf.json" || true)"
    speed=$(jq '.end.sum_received.bits_per_second | round' "$LAB_DIR/iperf.json")
    [ "$speed" -gt 0 ] || die "$way: nothing arrived"
    printf '%s\n' "$speed"
}

warm_up() { iperf "$1" 1 up 1 >/dev/null; }

measure_all() {
    local round shape way speed
    for ((round = 1; round <= ROUNDS; round++)); do
        for shape in "${SHAPES[@]}"; do
            for way in "${WAYS[@]}"; do
                speed=$(iperf "$way" "${shape%:*}" "${shape#*:}" "$DURATION")
                printf '{"round":%d,"way":"%s","flows":%d,"direction":"%s","bits_per_second":%d}\n' \
                    "$round" "$way" "${shape%:*}" "${shape#*:}" "$speed" >>"$LAB_DIR/samples"
                printf 'round %d/%d  %s flow(s) %-4s  %-8s  %6.2f Gbit/s\n' \
                    "$round" "$ROUNDS" "${shape%:*}" "${shape#*:}" "$way" "$(gigabits "$speed")" >&2
            done
        done
    done
}

gigabits() { awk -v speed="$1" 'BEGIN { print speed / 1e9 }'; }

# report prints the table of medians, writes the JSON, and fails if nat64 stays below the target anywhere. A share of plain
# forwarding is the median over the rounds of what was measured in the same round.
report() {
    local result=$LAB_DIR/result.json
    jq -s --argjson target "$TARGET" --argjson rounds "$ROUNDS" --argjson seconds "$DURATION" \
        --arg kernel "$(uname -r)" --argjson cores "$(nproc)" '
        def median: sort | if length % 2 == 1 then .[(length - 1) / 2] else (.[length / 2 - 1] + .[length / 2]) / 2 end;
        def shape: [.flows, .direction];
        . as $samples
        | (map(select(.way == "forward6")) | map({key: ([.round] + shape | tostring), value: .bits_per_second})
            | from_entries) as $plain
        | ($samples | group_by([.way] + shape) | map({
            way: .[0].way, flows: .[0].flows, direction: .[0].direction,
            median_bits_per_second: (map(.bits_per_second) | median | round),
            ratio: (map($plain[[.round] + shape | tostring] as $p | select($p) | .bits_per_second / $p)
                | if length > 0 then median * 1000 | round / 1000 else null end)})) as $rows
        | {kernel: $kernel, cores: $cores, rounds: $rounds, seconds: $seconds, target: $target,
           met: all($rows[]; .way != "nat64" or .ratio == null or .ratio >= $target),
           rows: $rows, samples: $samples}' "$LAB_DIR/samples" >"$result"
    table "$result"
    if [ -n "$JSON" ]; then
        cp "$result" "$JSON"
        say "Written: $JSON"
    fi
    if wants nat64 && wants forward6; then
        jq -e .met "$result" >/dev/null || die "nat64 is below $TARGET of plain forwarding"
        say "nat64 is at or above $TARGET of plain forwarding in every row."
    fi
}

table() {
    say
    say "TCP, median of $ROUNDS rounds of $DURATION s, Gbit/s (share of plain IPv6 forwarding)"
    {
        printf 'flows direction'
        printf ' %s' "${WAYS[@]}"
        printf '\n'
        local shape way
        for shape in "${SHAPES[@]}"; do
            printf '%s %s' "${shape%:*}" "${shape#*:}"
            for way in "${WAYS[@]}"; do
                jq -j --arg way "$way" --argjson flows "${shape%:*}" --arg direction "${shape#*:}" '
                    .rows[] | select(.way == $way and .flows == $flows and .direction == $direction)
                    | " \(.median_bits_per_second / 1e7 | round / 100)" + (if .ratio then "(\(.ratio))" else "" end)' "$1"
            done
            printf '\n'
        done
    } | column -t
}

main "$@"
