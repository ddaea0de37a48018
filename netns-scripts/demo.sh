#!/usr/bin/env bash
# A pod with nothing but IPv6 reaches an IPv4-only web server by name, through `nat64 run`, on this machine, in network
# namespaces of its own. Installs what is missing, builds, shows each step, removes everything again. Needs root on Debian 12.
#
#   netns-scripts/demo.sh            NAT64_BIN=/path/to/nat64 uses that binary instead of building one
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

PREFIX=n64demo
PREF64=64:ff9b:1::/96       # RFC 8215: the IPv4 addresses here are documentation ones, which 64:ff9b::/96 may not carry
POOL4=192.0.2.64            # inside the gateway's own IPv4 subnet: nobody else needs a route to it
POD_SUBNET=2001:db8:64:0:a::/80
NODE=2001:db8:64:0:a::1
WEB=198.51.100.10
DNS=198.51.100.53
WEB6=64:ff9b:1::c633:640a   # WEB under PREF64
ROUTER6=64:ff9b:1::c000:201 # 192.0.2.1 under PREF64

on_lab_close() { cni DEL gateway pod "$POD_SUBNET" 9001 >/dev/null 2>&1; }

main() {
    need_root
    ensure_packages iproute2:ip procps:sysctl iputils-ping:ping traceroute:traceroute curl:curl \
        bind9-dnsutils:dig nginx-light:nginx nsd:nsd containernetworking-plugins:/usr/lib/cni/bridge
    NAT64=$(nat64_binary)
    lab_open

    cat <<'PICTURE'

   pod (IPv6 only)             gateway                    router              server (IPv4 only)
   2001:db8:64:0:a::/80        nat64 run                                      legacy.example
   eth0 ────────────── cni0    64:ff9b:1::/96    wan ───── 192.0.2.1 ──────── 198.51.100.10  web, nginx
                               pool 192.0.2.64             198.51.100.1       198.51.100.53  DNS, nsd

PICTURE
    build_ipv4_world
    attach_pod
    start_nat64
    show_name
    show_web
    show_ping
    show_path
    show_state
    show_stop
    say
    say "Everything shown worked."
}

# step TEXT: one line that says what comes next and why.
step() { printf '\n── %s\n' "$*"; }

# show ROLE PATTERN COMMAND... runs COMMAND in that namespace before the reader's eyes. It must succeed, and say PATTERN.
show() {
    local role=$1 pattern=$2 output status=0
    shift 2
    printf '   %s# %s\n' "$role" "$*"
    output=$(in_ns "$role" timeout 30 "$@" 2>&1) || status=$?
    printf '%s\n' "$output" | sed 's/^/   | /'
    [ "$status" -eq 0 ] || failed "the command above ended with status $status"
    grep -Eq -- "$pattern" <<<"$output" || failed "the output above does not show: $pattern"
}

failed() {
    say
    say "FAILED: $*"
    if [ -s "$LAB_DIR/nat64.log" ]; then
        say "The daemon's log:"
        sed 's/^/   | /' "$LAB_DIR/nat64.log"
    fi
    exit 1
}

build_ipv4_world() {
    step "An IPv4-only server with a web server and an authoritative DNS server stands two hops behind the gateway."
    ns_add gateway router server
    wire gateway wan router eth0 1500
    wire router eth1 server eth0 1500
    ip -n "$LAB-gateway" addr add 192.0.2.2/24 dev wan
    ip -n "$LAB-gateway" route add default via 192.0.2.1
    ip -n "$LAB-router" addr add 192.0.2.1/24 dev eth0
    ip -n "$LAB-router" addr add 198.51.100.1/24 dev eth1
    in_ns router sysctl -qw net.ipv4.ip_forward=1
    in_ns server sysctl -qw net.ipv6.conf.all.disable_ipv6=1
    ip -n "$LAB-server" addr add "$WEB/24" dev eth0
    ip -n "$LAB-server" addr add "$DNS/24" dev eth0
    ip -n "$LAB-server" route add default via 198.51.100.1
    web_server server
    printf 'Hello from an IPv4-only server.\n' >"$LAB_DIR/www/index.html"
    name_server server "$DNS"
    show server "$WEB/24" ip -br -4 addr
}

attach_pod() {
    step "The CNI plugins bridge and host-local attach a pod to the gateway, as the VPC CNI does: an address out of a /80, MTU 9001."
    ns_add pod
    cni ADD gateway pod "$POD_SUBNET" 9001 >"$LAB_DIR/cni.json" || failed "CNI ADD: $(cat "$LAB_DIR/cni.json")"
    resolver pod "$NODE"
    show pod '2001:db8:64:0:a::[0-9a-f]+/80' ip -br -6 addr show dev eth0
    show pod "default via $NODE" ip -6 route show default
}

start_nat64() {
    local run=(run --pref64 "$PREF64" --pool4 "$POOL4" --dns-upstream "$DNS")
    step "One daemon on the gateway is both halves: DNS64 for the names, NAT64 for the packets."
    printf '   gateway# nat64 %s &\n' "${run[*]}"
    start gateway nat64 "$NAT64" "${run[@]}" --control-socket "$LAB_DIR/nat64.sock"
    NAT64_PID=$!
    wait_for 15 "nat64 to be ready" answers_or_has_ended || failed "nat64 did not become ready"
    nat64 status >/dev/null || failed "nat64 ended"
    sed 's/^/   | /' "$LAB_DIR/nat64.log"
}

# nat64 COMMAND... asks the running daemon.
nat64() { in_ns gateway "$NAT64" "$@" --control-socket "$LAB_DIR/nat64.sock"; }

answers_or_has_ended() { nat64 status || has_ended "$NAT64_PID"; }

show_name() {
    step "legacy.example has only an IPv4 address; DNS64 answers the pod with that address under the prefix."
    show pod "IN[[:space:]]+A[[:space:]]+$WEB" dig +noall +answer A legacy.example
    show pod "IN[[:space:]]+AAAA[[:space:]]+$WEB6" dig +noall +answer AAAA legacy.example
    show pod "PTR[[:space:]]+legacy\\.example" dig +noall +answer -x "$WEB6"
}

show_web() {
    step "The pod fetches the page by name."
    show pod '^Hello from an IPv4-only server' curl -sS --max-time 10 http://legacy.example/
}

show_ping() {
    step "It pings the server: ICMPv6 on its side, ICMPv4 on the other."
    show pod '3 received' ping -c 3 -i 0.2 legacy.example
}

show_path() {
    step "traceroute shows the IPv4 routers on the way as addresses under the prefix."
    show pod "$ROUTER6" traceroute -6 -n -q 1 -N 1 -w 2 legacy.example
    show pod "$WEB6" traceroute -6 -n -I -q 1 -w 2 legacy.example
}

show_state() {
    step "What the daemon knows of all this."
    show_nat64 "$POOL4|64:ff9b:1::/96" status
    show_nat64 "$POOL4" sessions
}

# show_nat64 PATTERN COMMAND: `show` for the daemon's own commands, which are printed without the demo's socket path.
show_nat64() {
    local pattern=$1 output
    shift
    printf '   gateway# nat64 %s\n' "$*"
    output=$(nat64 "$@" 2>&1) || failed "nat64 $*: $output"
    printf '%s\n' "$output" | sed 's/^/   | /'
    grep -Eq -- "$pattern" <<<"$output" || failed "the output above does not show: $pattern"
}

show_stop() {
    step "Stopped, the daemon takes its device, routes and neighbour entries with it."
    kill -TERM "$NAT64_PID"
    wait_for 10 "nat64 to end" has_ended "$NAT64_PID" || failed "nat64 ignored SIGTERM"
    wait "$NAT64_PID" || failed "nat64 ended with status $?"
    show gateway '^cni0' ip -br link
    if ip -n "$LAB-gateway" link show nat64 >/dev/null 2>&1; then failed "the device nat64 is still there"; fi
}

# A child that ended stays a zombie until it is waited for.
has_ended() { ! grep -q '^State:[[:space:]][^Z]' "/proc/$1/status"; }

main "$@"
