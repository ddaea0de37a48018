#!/usr/bin/env bash
# How fast DNS64 is: `nat64 run` beside Unbound and BIND, each with one worker on one core, in the same topology and the same
# minutes. All forward to the same NSD, which has nothing but A records. Load (dnsperf) and authority share the other core.
# Each round measures every server once in every test, so that a machine whose speed drifts does so for all of them. Needs root
# on Debian 12 and two cores.
#
#   netns-scripts/dns-bench.sh [--rounds N] [--seconds S] [--tests "cached clients uncached steady cold rfc8219 memory"]
#                              [--servers "nat64 unbound bind"] [--rfc8219-seconds S] [--names N] [--json FILE] [--chart FILE]
#
#   cached    10,000 names, known; dnsperf with one socket, as a forwarder has it
#   clients   the same from 100 sockets
#   uncached  every name new
#   steady    the cached names at 10,000 queries a second, for their latency
#   cold      one new name at a time, with an upstream 20 ms away
#   rfc8219   RFC 8219 section 7.1: the highest rate at which each of new names is answered within 1 s
#   memory    resident memory for each of N new names, and of nat64 with its bound at 16 MiB
#
# NAT64_BIN=/path/to/nat64 uses that binary instead of building one.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

PREFIX=n64dns
ROUNDS=3
DURATION=3
RFC8219_SECONDS=5           # RFC 8219 asks for 60
NAMES=500000
SERVERS=(nat64 unbound bind)
TESTS=(cached clients uncached steady cold rfc8219 memory)
JSON=
CHART=
CACHED_NAMES=10000
DELAY_MS=20
SERVER_CORE=0 LOAD_CORE=1

SERVER=10.64.1.1 AUTHORITY=10.64.2.53 FAR_AUTHORITY=10.64.2.54
declare -A PORT=([nat64]=5301 [unbound]=5302 [bind]=5303) SERVER_PID

main() {
    options "$@"
    need_root
    [ "$(nproc)" -ge 2 ] || die "needs two cores: one for the server, one for the load"
    ensure_packages iproute2:ip procps:sysctl util-linux:taskset jq:jq gawk:gawk bsdextrautils:column python3-minimal:python3 \
        nsd:nsd unbound:unbound bind9:named dnsperf:dnsperf
    NAT64=$(nat64_binary)
    lab_open
    lay_out
    seq -f 'c%.0f.example AAAA' "$CACHED_NAMES" >"$LAB_DIR/cached"
    local test
    for test in "${TESTS[@]}"; do "test_$test"; done
    report
}

options() {
    while [ $# -gt 0 ]; do
        case $1 in
            --rounds) ROUNDS=$2 ;;
            --seconds) DURATION=$2 ;;
            --rfc8219-seconds) RFC8219_SECONDS=$2 ;;
            --names) NAMES=$2 ;;
            --servers) read -ra SERVERS <<<"$2" ;;
            --tests) read -ra TESTS <<<"$2" ;;
            --json) JSON=$2 ;;
            --chart) CHART=$2 ;;
            *) die "unknown option $1; the head of this script lists those there are" ;;
        esac
        shift 2 || die "the last option lacks its value"
    done
    local one
    for one in "${SERVERS[@]}"; do [ -n "${PORT[$one]:-}" ] || die "unknown server $one; there are nat64, unbound and bind"; done
    for one in "${TESTS[@]}"; do
        declare -F "test_$one" >/dev/null ||
            die "unknown test $one; there are cached, clients, uncached, steady, cold, rfc8219 and memory"
    done
}

# ---- the network: client ── server ── authority ----------------------------------------------------------------------------

lay_out() {
    ns_add client server authority
    wire client eth0 server lan 1500
    wire server wan authority eth0 1500
    ip -n "$LAB-client" addr add 10.64.1.2/24 dev eth0
    ip -n "$LAB-server" addr add "$SERVER/24" dev lan
    ip -n "$LAB-server" addr add 10.64.2.1/24 dev wan
    ip -n "$LAB-authority" addr add "$AUTHORITY/24" dev eth0
    ip -n "$LAB-authority" addr add "$FAR_AUTHORITY/24" dev eth0
    mkdir "$LAB_DIR/zones"
    cat >"$LAB_DIR/zones/example" <<'ZONE'
$ORIGIN example.
$TTL 3600
@ SOA ns hostmaster 1 3600 600 86400 3600
@ NS  ns
* A   198.51.100.10
ZONE
    cat >"$LAB_DIR/nsd.conf" <<NSD
server:
    ip-address: $AUTHORITY
    server-count: 1
    username: ""
    chroot: ""
    database: ""
    rrl-ratelimit: 0
    receive-buffer-size: 16777216
    send-buffer-size: 16777216
    zonesdir: "$LAB_DIR/zones"
    pidfile: "$LAB_DIR/nsd.pid"
    xfrdfile: "$LAB_DIR/nsd.xfrd"
    zonelistfile: "$LAB_DIR/nsd.zones"
    cookie-secret-file: "$LAB_DIR/nsd.cookies"
    xfrdir: "$LAB_DIR"
remote-control:
    control-enable: no
zone:
    name: example
    zonefile: example
NSD
    start authority nsd taskset -c $LOAD_CORE nsd -d -c "$LAB_DIR/nsd.conf"
    wait_for 10 "nsd to listen" listens_on authority 53 || die "nsd did not start: $(cat "$LAB_DIR/nsd.log")"
    # Not every kernel has netem, so the long way is made by hand.
    start authority far taskset -c $LOAD_CORE python3 "$REPO/netns-scripts/dns-delay.py" \
        "$FAR_AUTHORITY" "$AUTHORITY" "$DELAY_MS"
}

# ---- the servers: `run_SERVER UPSTREAM BYTES` runs one with a cache of so many bytes ----------------------------------------

start_server() {
    local server=$1
    "run_$server" "${2:-$AUTHORITY}" "${3:-1073741824}"
    SERVER_PID[$server]=$!
    wait_for 15 "$server to answer" is_answering "$server" || die "$server did not start: $(cat "$LAB_DIR/$server.log")"
}

stop_server() {
    kill "${SERVER_PID[$1]}"
    wait "${SERVER_PID[$1]}" 2>/dev/null || true
}

is_answering() {
    printf 'up.example AAAA\n' | in_ns client dnsperf -s $SERVER -p "${PORT[$1]}" -n 1 -t 1 | grep -q 'NOERROR 1 '
}

run_nat64() {
    cat >"$LAB_DIR/nat64.toml" <<TOML
pref64 = "64:ff9b:1::/96"
[translator]
enabled = false
[dns64]
listen = "$SERVER:${PORT[nat64]}"
clients = "10.64.1.0/24"
upstreams = "$1"
udp-sockets = 1
max-in-flight = 4096
in-flight-per-client = 4096
cache-entries = $((2 * NAMES + 100000))
cache-bytes = $2
[control]
socket = "$LAB_DIR/nat64.sock"
TOML
    start server nat64 taskset -c $SERVER_CORE "$NAT64" run --config "$LAB_DIR/nat64.toml"
}

run_unbound() {
    cat >"$LAB_DIR/unbound.conf" <<UNBOUND
server:
    interface: $SERVER@${PORT[unbound]}
    port: ${PORT[unbound]}
    access-control: 10.64.1.0/24 allow
    num-threads: 1
    outgoing-range: 8192
    num-queries-per-thread: 4096
    so-rcvbuf: 4m
    module-config: "dns64 iterator"
    dns64-prefix: 64:ff9b:1::/96
    msg-cache-size: $(($2 / 3))
    rrset-cache-size: $(($2 * 2 / 3))
    local-zone: "example." nodefault
    username: ""
    chroot: ""
    directory: ""
    pidfile: ""
    use-syslog: no
    do-daemonize: no
remote-control:
    control-enable: no
forward-zone:
    name: "."
    forward-addr: $1
UNBOUND
    start server unbound taskset -c $SERVER_CORE unbound -d -c "$LAB_DIR/unbound.conf"
}

run_bind() {
    mkdir -p "$LAB_DIR/bind"
    cat >"$LAB_DIR/named.conf" <<NAMED
options {
    directory "$LAB_DIR/bind";
    pid-file none;
    session-keyfile none;
    listen-on port ${PORT[bind]} { $SERVER; };
    listen-on-v6 { none; };
    allow-query { any; };
    allow-recursion { any; };
    recursive-clients 8192;
    forward only;
    forwarders { $1; };
    dnssec-validation no;
    max-cache-size $2;
    dns64 64:ff9b:1::/96 { clients { any; }; };
};
controls { };
NAMED
    start server bind taskset -c $SERVER_CORE named -f -n 1 -c "$LAB_DIR/named.conf"
}

# ---- measuring -------------------------------------------------------------------------------------------------------------

# cpu_ns SERVER prints the CPU time that its threads have used, in nanoseconds.
cpu_ns() { cat /proc/"${SERVER_PID[$1]}"/task/*/schedstat | awk '{ sum += $1 } END { printf "%.0f\n", sum }'; }

resident_bytes() { awk '/^VmRSS/ { printf "%.0f\n", $2 * 1024 }' "/proc/${SERVER_PID[$1]}/status"; }

# load SERVER ARGUMENT... runs dnsperf; its report is in LAB_DIR/load.
load() {
    local server=$1
    shift
    in_ns client taskset -c $LOAD_CORE dnsperf -b 8192 -s $SERVER -p "${PORT[$server]}" "$@" >"$LAB_DIR/load" 2>&1 ||
        die "dnsperf: $(tail -3 "$LAB_DIR/load")"
}

# loaded FIELD reads dnsperf's report: the number after that name.
loaded() { awk -v field="$1:" 'index($0, field) { sub(/^.*: */, ""); print $1; exit }' "$LAB_DIR/load"; }

# new_names COUNT writes as many names that nobody has asked for yet to LAB_DIR/new.
new_names() {
    SERIES=$((${SERIES:-0} + 1))
    seq -f "n$SERIES-%.0f.example AAAA" "$1" >"$LAB_DIR/new"
}

# percentiles: of the latencies in dnsperf's detailed report, in microseconds.
percentiles() {
    awk '$1 == ">" { print $NF * 1e6 }' "$LAB_DIR/load" | sort -n | awk '
        { of[NR] = $1 }
        function at(part) { return of[int((NR - 1) * part) + 1] }
        END { printf "{\"p50_us\":%d,\"p90_us\":%d,\"p99_us\":%d,\"max_us\":%d}", at(.5), at(.9), at(.99), of[NR] }'
}

# sample TEST SERVER JSON takes a result down.
sample() {
    jq -cn --arg test "$1" --arg server "$2" --argjson round "${round:-1}" --argjson result "$3" \
        '{test: $test, server: $server, round: $round} + $result' | tee -a "$LAB_DIR/samples" >&2
}

# measured TEST SERVER DNSPERF_ARGUMENT... measures rate and CPU time.
measured() {
    local test=$1 server=$2 before after
    shift 2
    before=$(cpu_ns "$server")
    load "$server" "$@"
    after=$(cpu_ns "$server")
    sample "$test" "$server" "$(jq -cn --argjson qps "$(loaded 'Queries per second')" --argjson lost "$(loaded 'Queries lost')" \
        --argjson cpu "$((after - before))" --argjson count "$(loaded 'Queries completed')" \
        '{qps: ($qps | round), lost: $lost, cpu_us: ($cpu / $count / 10 | round / 100)}')"
}

with_all_servers() {
    local server
    for server in "${SERVERS[@]}"; do start_server "$server"; done
    "$@"
    for server in "${SERVERS[@]}"; do stop_server "$server"; done
}

# Twice: the first answer goes into a cache, and the second may go into a faster one.
warm() { load "$1" -d "$LAB_DIR/cached" -n 2; }

known_names() {
    local test=$1 server round
    shift
    for server in "${SERVERS[@]}"; do warm "$server"; done
    for ((round = 1; round <= ROUNDS; round++)); do
        for server in "${SERVERS[@]}"; do measured "$test" "$server" -d "$LAB_DIR/cached" -l "$DURATION" "$@"; done
    done
}

test_cached() { with_all_servers known_names cached -c 1 -q 100; }

test_clients() { with_all_servers known_names clients -c 100 -q 100; }

test_uncached() { with_all_servers uncached; }
uncached() {
    local server round
    for ((round = 1; round <= ROUNDS; round++)); do
        for server in "${SERVERS[@]}"; do
            new_names $((100000 * DURATION))
            measured uncached "$server" -d "$LAB_DIR/new" -n 1 -l "$DURATION" -q 100
        done
    done
}

test_steady() { with_all_servers steady; }
steady() {
    local server round
    for server in "${SERVERS[@]}"; do warm "$server"; done
    for ((round = 1; round <= ROUNDS; round++)); do
        for server in "${SERVERS[@]}"; do
            load "$server" -d "$LAB_DIR/cached" -l "$DURATION" -Q 10000 -v
            sample steady "$server" "$(percentiles)"
        done
    done
}

# The upstream alone is measured beside the servers: what it takes to answer is no server's doing.
test_cold() {
    local server round
    for server in "${SERVERS[@]}"; do start_server "$server" "$FAR_AUTHORITY"; done
    for ((round = 1; round <= ROUNDS; round++)); do
        new_names 100
        in_ns server taskset -c $SERVER_CORE dnsperf -s "$FAR_AUTHORITY" -d "$LAB_DIR/new" -n 1 -q 1 -v >"$LAB_DIR/load" 2>&1
        sample cold upstream "$(percentiles)"
        for server in "${SERVERS[@]}"; do
            new_names 100
            load "$server" -d "$LAB_DIR/new" -n 1 -q 1 -v
            sample cold "$server" "$(percentiles)"
        done
    done
    for server in "${SERVERS[@]}"; do stop_server "$server"; done
}

test_rfc8219() { with_all_servers rfc8219; }
rfc8219() {
    local server round
    for ((round = 1; round <= ROUNDS; round++)); do
        for server in "${SERVERS[@]}"; do sample rfc8219 "$server" "{\"qps\":$(highest_rate "$server")}"; done
    done
}

# highest_rate SERVER doubles the rate until an answer is missing, then halves the gap down to a tenth.
highest_rate() {
    local good=500 bad=0 rate=1000
    while [ "$bad" -eq 0 ] || [ $((bad - good)) -gt $((good / 10)) ]; do
        if keeps_up "$1" "$rate"; then good=$rate; else bad=$rate; fi
        if [ "$bad" -eq 0 ]; then rate=$((2 * good)); else rate=$(((good + bad) / 2)); fi
    done
    printf '%s\n' "$good"
}

# A rate that the load itself does not reach was not kept up with.
keeps_up() {
    new_names $(($2 * RFC8219_SECONDS))
    load "$1" -d "$LAB_DIR/new" -n 1 -Q "$2" -q 60000 -t 1
    [ "$(loaded 'Queries lost')" -eq 0 ] &&
        awk -v got="$(loaded 'Queries per second')" -v want="$2" 'BEGIN { exit !(got >= want * 0.95) }'
}

test_memory() {
    local server
    for server in "${SERVERS[@]}"; do
        start_server "$server"
        sample memory "$server" "$(growth "$server")"
        stop_server "$server"
    done
    if [[ " ${SERVERS[*]} " == *" nat64 "* ]]; then
        start_server nat64 "$AUTHORITY" 16777216
        sample memory-16-MiB nat64 "$(growth nat64)"
        stop_server nat64
    fi
}

# growth SERVER asks for new names for a minute at most, and tells what a name took.
growth() {
    local before count
    before=$(resident_bytes "$1")
    new_names "$NAMES"
    load "$1" -d "$LAB_DIR/new" -n 1 -l 60 -q 100
    count=$(loaded 'Queries completed')
    printf '{"names":%d,"bytes":%d,"bytes_per_name":%d}' "$count" "$(($(resident_bytes "$1") - before))" \
        "$((($(resident_bytes "$1") - before) / count))"
}

# ---- telling ---------------------------------------------------------------------------------------------------------------

versions() {
    {
        "$NAT64" --version
        unbound -V | sed -n '1s/Version/Unbound/p'
        named -v | cut -d' ' -f1-2
        nsd -v 2>&1 | sed -n 1p
        dnsperf -h 2>&1 | sed -n 's/^Version/dnsperf/p' | sort -u
    } | jq -Rn '[inputs]'
}

# report prints the medians and writes JSON and chart. A ratio is the median over the rounds of what was measured in the same
# round, nat64's by Unbound's.
report() {
    local result=$LAB_DIR/result.json
    jq -s --argjson versions "$(versions)" --arg kernel "$(uname -r)" --argjson cores "$(nproc)" --argjson rounds "$ROUNDS" \
        --argjson seconds "$DURATION" --argjson rfc8219_seconds "$RFC8219_SECONDS" '
        def median: sort | if length % 2 == 1 then .[(length - 1) / 2] else (.[length / 2 - 1] + .[length / 2]) / 2 end;
        def figures: to_entries | map(select(.key | IN("test", "server", "round") | not));
        . as $samples
        | (group_by([.test, .server]) | map(. as $group | {test: .[0].test, server: .[0].server} + (
            [.[] | figures[] | .key] | unique | map({key: ., value: (. as $key | [$group[][$key]] | median)}) | from_entries)))
          as $rows
        | [$samples[] | select(.server == "nat64") as $ours
            | $samples[] | select(.server == "unbound" and .test == $ours.test and .round == $ours.round) as $theirs
            | ($ours | figures[] | select(.key | IN("qps", "cpu_us", "p50_us", "bytes_per_name")))
            | {test: $ours.test, figure: .key, ratio: (if $theirs[.key] > 0 then .value / $theirs[.key] else null end)}]
          as $ratios
        | {versions: $versions, kernel: $kernel, cores: $cores, rounds: $rounds, seconds: $seconds,
           rfc8219_seconds: $rfc8219_seconds, rows: $rows,
           to_unbound: ($ratios | map(select(.ratio)) | group_by([.test, .figure])
               | map({test: .[0].test, figure: .[0].figure, ratio: (map(.ratio) | median * 1000 | round / 1000)})),
           samples: $samples}' "$LAB_DIR/samples" >"$result"
    tables "$result"
    if [ -n "$JSON" ]; then
        cp "$result" "$JSON"
        say "Written: $JSON"
    fi
    if [ -n "$CHART" ]; then
        "$REPO/netns-scripts/dns-chart.jq" "$result" >"$CHART"
        say "Written: $CHART"
    fi
}

tables() {
    say
    say "Median of $ROUNDS rounds of $DURATION s"
    jq -r '"test server figures", (.rows[] | . as $row | "\(.test) \(.server) " + (to_entries
        | map(select(.key | IN("test", "server") | not) | "\(.key)=\(.value)") | join(" ")))' "$1" | column -t
    say
    say "nat64 as a multiple of Unbound"
    jq -r '"test figure ratio", (.to_unbound[] | "\(.test) \(.figure) \(.ratio)")' "$1" | column -t
}

main "$@"
