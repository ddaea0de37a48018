# shellcheck shell=bash
# What bench.sh measures. `row_NAME` measures all of that name once for every way; a function that measures prints a number.

PACED=30000            # packets per second at which CPU time is compared
CAPACITY=300000        # sessions that are opened to see how many are kept

# ---- TCP -------------------------------------------------------------------------------------------------------------------

row_tcp() {
    local flows direction
    for flows in 1 4; do
        for direction in up down; do sample "tcp-$flows-$direction" Gbit/s iperf "$flows" "$direction" "$DURATION"; done
    done
}

# iperf WAY FLOWS DIRECTION SECONDS prints what arrived, in Gbit/s.
iperf() {
    local direction=()
    [ "$3" = up ] || direction=(--reverse)
    in_ns client timeout $(($4 + 20)) iperf3 --json --client "${TO[$1]}" --time "$4" --parallel "$2" "${direction[@]}" \
        >"$LAB_DIR/iperf.json" 2>&1 || die "$1: $(jq -r '.error // empty' "$LAB_DIR/iperf.json" || true)"
    jq '.end.sum_received.bits_per_second / 1e9' "$LAB_DIR/iperf.json"
}

warm_up() { iperf "$1" 1 up 1 >/dev/null; }

# ---- packets ---------------------------------------------------------------------------------------------------------------

row_udp() {
    local size flows
    for size in 64 1200; do
        for flows in 4 1000; do
            sample "udp-$size-$flows" packets/s delivered --size "$size" --flows "$flows" --seconds "$DURATION"
        done
    done
}

row_cpu() { sample cpu µs/packet busy --seconds "$DURATION"; }

row_lossless() { sample lossless packets/s highest 64 --seconds 1 lossless; }

# Flows that no earlier round has used.
row_establish() { sample establish sessions/s highest 64 --seconds 0.5 --first-flow "$((round * 2000000))" establish; }

row_capacity() { sample capacity sessions kept --flows "$CAPACITY" --first-flow "$((round * 2000000 + 1000000))"; }

# packet_rate WAY OPTION... MODE OPTION...
packet_rate() {
    local way=$1
    shift
    "$PACKET_RATE" --sender "/run/netns/$LAB-client" --receiver "/run/netns/$LAB-server" \
        --from "${FROM[$way]}" --to "${TO[$way]}" --listen "${LISTEN[$way]}" "$@" || die "$way: packet-rate failed"
}

delivered() { packet_rate "$@" load | jq .delivered_per_second; }
busy() { packet_rate "$@" load --rate "$PACED" | jq .busy_microseconds_per_packet; }
highest() { packet_rate "$1" --size "${@:2}" | jq .packets_per_second; }
kept() { packet_rate "$@" capacity | jq .kept; }

# ---- connections and round trips -------------------------------------------------------------------------------------------

row_http() { sample http connections/s connections "$DURATION"; }

# connections WAY SECONDS: requests per second, a connection for each.
connections() {
    local host=${TO[$1]}
    if [[ $host == *:* ]]; then host="[$host]"; fi
    in_ns client wrk --threads 1 --connections 32 --duration "$2s" --header 'Connection: close' "http://$host/" \
        >"$LAB_DIR/wrk.txt" 2>&1 || die "$1: $(cat "$LAB_DIR/wrk.txt")"
    sed -n 's|^Requests/sec: *||p' "$LAB_DIR/wrk.txt"
}

row_rtt() {
    sample rtt-idle µs round_trip
    sample rtt-busy µs beside_bulk round_trip
}

# round_trip WAY: the median of some pings.
round_trip() {
    in_ns client ping -n -i 0.01 -c 100 "${TO[$1]}" | sed -n 's/.*time=\([0-9.]*\) ms$/\1/p' | sort -n |
        awk '{ time[NR] = $1 } END { print time[int((NR + 1) / 2)] * 1000 }'
}

# beside_bulk WAY MEASURE: measures while one TCP flow goes the same way as fast as it can.
beside_bulk() {
    local bulk
    in_ns client timeout 20 iperf3 --client "${TO[$1]}" --time 10 >/dev/null 2>&1 &
    bulk=$!
    wait_for 5 "the bulk flow to begin" bulk_runs || die "$1: no bulk flow"
    "$2" "$1"
    kill "$bulk" 2>/dev/null || true
    wait "$bulk" 2>/dev/null || true
    wait_for 10 "the bulk flow to end" bulk_is_over || die "$1: the bulk flow does not end"
}

bulk_runs() { [ "$(bulk_connections)" -ge 2 ]; }
bulk_is_over() { [ "$(bulk_connections)" -eq 0 ]; }
bulk_connections() { in_ns server ss -Hnt state established "sport = :5201" | wc -l; }
