#!/usr/bin/env bash
# Traffic of many kinds, checked end to end, while the daemon is reloaded, restarted and killed, its IPv4 link flaps and one bad
# subscriber takes all the ports it can get. Ends with a report, and with status 1 when a well-behaved subscriber lost something.
# In network namespaces of its own, which go away at the end; what a killed run left, the next one removes. Needs root.
#
#   netns-scripts/chaos.sh [MINUTES]        2 unless told; 600 are ten hours
#   NAT64_BIN=/path/to/nat64                uses that binary instead of building one
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

PREFIX=n64chaos
PREF64=64:ff9b:1::/96
GATEWAY6=2001:db8:1::1
POOL4=192.0.2.64            # inside the subnet between gateway and server: nobody needs a route to it
SERVER=192.0.2.1
SERVER6=64:ff9b:1::c000:201 # SERVER under PREF64
TRAFFIC=$REPO/netns-scripts/chaos/traffic.py
FAULTS=(reload restart kill flap)
QUIET=2                     # seconds between two faults

main() {
    local minutes=${1:-2}
    [[ $minutes =~ ^[1-9][0-9]{0,4}$ ]] || die "MINUTES is a whole number from 1 to 99999, not $minutes"
    need_root
    ensure_packages iproute2:ip procps:sysctl iputils-ping:ping python3:python3 jq:jq
    NAT64=$(nat64_binary)
    lab_open
    build
    run_nat64
    start_traffic
    say "For $minutes minutes: ${FAULTS[*]}, in turn, every $QUIET s; a bad subscriber all the while."
    torment $((minutes * 60))
    stop_traffic
    note_life
    report
}

build() {
    ns_add good bad gateway server
    wire gateway lan0 good eth0 9000
    wire gateway lan1 bad eth0 9000
    wire gateway wan server eth0 1500
    ip -n "$LAB-gateway" addr add "$GATEWAY6/64" dev lan0
    ip -n "$LAB-gateway" addr add 2001:db8:2::1/64 dev lan1
    ip -n "$LAB-gateway" addr add 192.0.2.2/24 dev wan
    ip -n "$LAB-good" addr add 2001:db8:1::10/64 dev eth0
    ip -n "$LAB-good" route add default via "$GATEWAY6"
    ip -n "$LAB-bad" addr add 2001:db8:2::10/64 dev eth0
    ip -n "$LAB-bad" route add default via 2001:db8:2::1
    ip -n "$LAB-server" addr add "$SERVER/24" dev eth0
    start server server python3 "$TRAFFIC" server "$SERVER"
    wait_for 10 "the server to listen" listens_on server 7000 || die "$(cat "$LAB_DIR/server.log")"
}

# configure UDP_LIFETIME: everybody together finds 3000 ports, of which one subscriber may have 1500.
configure() {
    cat >"$LAB_DIR/nat64.toml" <<TOML
pref64 = ["$PREF64"]
[translator]
pool4 = ["$POOL4"]
ports = "1024-4023"
[translator.limits]
mappings-per-subscriber = 1500
[translator.timers]
udp = "$1"
port-quarantine = "1s"
[dns64]
upstreams = ["$SERVER"]
[control]
socket = "$LAB_DIR/nat64.sock"
[metrics]
listen = []
TOML
}

nat64() { in_ns gateway "$NAT64" "$@" --control-socket "$LAB_DIR/nat64.sock"; }

answers_or_has_ended() { nat64 status || ! kill -0 "$NAT64_PID"; }

run_nat64() {
    [ -e "$LAB_DIR/nat64.toml" ] || configure 5m
    ip netns exec "$LAB-gateway" "$NAT64" run --config "$LAB_DIR/nat64.toml" </dev/null >>"$LAB_DIR/nat64.log" 2>&1 &
    NAT64_PID=$!
    wait_for 30 "nat64 to be ready" answers_or_has_ended || broken "nat64 did not become ready"
    nat64 status >/dev/null || broken "nat64 ended"
}

broken() {
    tail -n 40 "$LAB_DIR/nat64.log" >&2
    die "$*"
}

# ---- traffic ---------------------------------------------------------------------------------------------------------------

start_traffic() {
    start good good python3 "$TRAFFIC" good "$SERVER6" "$GATEWAY6"
    GOOD_PID=$!
    start good ping ping -n -i 0.2 -s 1200 -p 5aa5 "$SERVER6"
    PING_PID=$!
    wait_for 20 "every flow to be open" grep -q '^open' "$LAB_DIR/good.log" || die "$(cat "$LAB_DIR/good.log")"
    start bad bad python3 "$TRAFFIC" bad "$SERVER6"
}

stop_traffic() {
    kill -INT "$PING_PID" 2>/dev/null || true
    kill -TERM "$GOOD_PID" 2>/dev/null || true
    wait "$GOOD_PID" || true
    wait "$PING_PID" || true
}

# ---- faults ----------------------------------------------------------------------------------------------------------------

torment() {
    local end=$((SECONDS + $1)) turn=0 fault
    while [ "$SECONDS" -lt "$end" ]; do
        kill -0 "$GOOD_PID" 2>/dev/null || break
        kill -0 "$NAT64_PID" 2>/dev/null || broken "nat64 ended by itself"
        fault=${FAULTS[turn % ${#FAULTS[@]}]}
        "fault_$fault" "$turn"
        printf '%s\n' "$fault" >>"$LAB_DIR/faults"
        turn=$((turn + 1))
        sleep "$QUIET"
    done
}

fault_reload() {
    if [ $(($1 / ${#FAULTS[@]} % 2)) -eq 0 ]; then configure 6m; else configure 5m; fi
    nat64 reload >/dev/null || broken "the reload was refused"
}

fault_restart() {
    note_life
    kill -TERM "$NAT64_PID"
    wait "$NAT64_PID" || true
    run_nat64
}

fault_kill() {
    note_life
    kill -KILL "$NAT64_PID"
    wait "$NAT64_PID" 2>/dev/null || true
    run_nat64
}

# The other end goes down, so that the gateway loses its carrier and keeps its addresses.
fault_flap() {
    ip -n "$LAB-server" link set eth0 down
    sleep 0.5
    ip -n "$LAB-server" link set eth0 up
}

# ---- report ----------------------------------------------------------------------------------------------------------------

# note_life keeps what the daemon that runs now has counted.
note_life() {
    nat64 status --json | jq -c '.translator.dropped' >>"$LAB_DIR/drops" || true
    awk '/^VmHWM/ { print $2 }' "/proc/$NAT64_PID/status" >>"$LAB_DIR/memory" || true
}

report() {
    local lost
    say
    say "Faults:"
    sort "$LAB_DIR/faults" | uniq -c
    say "Memory of the daemon at the most: $(sort -n "$LAB_DIR/memory" | tail -n 1) KiB"
    say "Packets dropped, by reason, of all daemons:"
    jq -rs 'map(to_entries[]) | group_by(.key)[] | "  \(.[0].key): \(map(.value) | add)" | select(endswith(": 0") | not)' \
        "$LAB_DIR/drops"
    say "Pings: $(grep 'packets transmitted' "$LAB_DIR/ping.log"); with wrong bytes: $(grep -c 'wrong data byte' "$LAB_DIR/ping.log")"
    say "The well-behaved subscriber:"
    grep -v '^open' "$LAB_DIR/good.log"
    lost=$(awk '/^lost:/ { print $2 }' "$LAB_DIR/good.log")
    [ "$lost" = 0 ] || die "the well-behaved subscriber lost something"
    ! grep -q 'wrong data byte' "$LAB_DIR/ping.log" || die "pings came back with wrong bytes"
    say "It lost nothing."
}

main "$@"
