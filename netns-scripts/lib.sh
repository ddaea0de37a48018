# shellcheck shell=bash
# Shared by demo.sh, test.sh and bench.sh: packages, network namespaces, waiting for conditions.
#
# A script that lays out namespaces sets PREFIX (`n64demo`, `n64bench`) and calls `lab_open`. Every name it then makes starts
# with `$PREFIX-<its pid>-`, so that two runs never collide and the leftovers of a killed run can be told from a live one.
# Nothing here touches an interface, a route or a sysctl of the host's own namespace.

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
POLL_SECONDS=0.05
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export LC_ALL=C.UTF-8

say() { printf '%s\n' "$*"; }

die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

need_root() {
    [ "$(id -u)" -eq 0 ] || die "must run as root: it makes network namespaces and may install packages"
}

# ---- packages --------------------------------------------------------------------------------------------------------------

# ensure_packages PACKAGE:WHAT... installs each Debian package whose WHAT (a command, or an absolute path) is missing.
ensure_packages() {
    local entry missing=()
    for entry in "$@"; do
        has_tool "${entry#*:}" || missing+=("${entry%%:*}")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" -eq 0 ] || die "missing, and only root may install: ${missing[*]}"
    say "Installing: ${missing[*]}"
    apt_install "${missing[@]}"
}

# ensure_cargo_deb installs what makes a Debian package.
ensure_cargo_deb() {
    ensure_cargo
    if ! has_tool cargo-deb; then
        say "Installing: cargo-deb"
        cargo install --quiet --locked cargo-deb >&2
    fi
}

has_tool() {
    case $1 in
        /*) [ -e "$1" ] ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

# Debian starts and enables the service of every daemon it installs; ours run inside namespaces only, so neither may happen.
apt_install() {
    local package output
    output=$(
        exec 2>&1 </dev/null
        policy=/usr/sbin/policy-rc.d
        if [ ! -e "$policy" ]; then
            trap 'rm -f "$policy"' EXIT
            trap 'exit 130' INT TERM HUP
            printf '#!/bin/sh\nexit 101\n' >"$policy"
            chmod +x "$policy"
        fi
        export DEBIAN_FRONTEND=noninteractive
        # A new machine may be installing its own updates.
        local patient=(-o "DPkg::Lock::Timeout=300")
        apt-get "${patient[@]}" update -qq && apt-get "${patient[@]}" install -y -qq --no-install-recommends "$@"
    ) || die "apt-get could not install $*:"$'\n'"$output"
    has_tool systemctl || return 0
    for package in "$@"; do
        case $package in
            nginx-light) systemctl --quiet disable nginx >/dev/null 2>&1 || true ;;
            nsd) systemctl --quiet disable nsd >/dev/null 2>&1 || true ;;
            unbound) systemctl --quiet disable unbound >/dev/null 2>&1 || true ;;
        esac
    done
}

# The toolchain of the user who called sudo counts too.
ensure_cargo() {
    local home
    if ! has_tool cargo; then
        for home in "$HOME" "$(getent passwd "${SUDO_USER:-root}" | cut -d: -f6)"; do
            if [ -x "$home/.cargo/bin/cargo" ]; then
                export PATH="$home/.cargo/bin:$PATH" CARGO_HOME="${CARGO_HOME:-$home/.cargo}"
                export RUSTUP_HOME="${RUSTUP_HOME:-$home/.rustup}"
                break
            fi
        done
    fi
    has_tool cargo || die "no Rust toolchain: cargo is not in PATH (https://rustup.rs)"
    ensure_packages gcc:cc libc6-dev:/usr/include/stdio.h
}

# nat64_binary prints the path of the release binary, built if need be; NAT64_BIN names a ready one.
nat64_binary() {
    if [ -n "${NAT64_BIN:-}" ]; then
        [ -x "$NAT64_BIN" ] || die "NAT64_BIN=$NAT64_BIN is not an executable file"
        printf '%s\n' "$NAT64_BIN"
        return
    fi
    ensure_cargo >&2
    (cd "$REPO" && cargo build --release --locked --bin nat64) >&2 || die "cargo build failed"
    printf '%s/release/nat64\n' "${CARGO_TARGET_DIR:-$REPO/target}"
}

# ---- waiting ---------------------------------------------------------------------------------------------------------------

# wait_for SECONDS WHAT COMMAND... runs COMMAND until it succeeds; fails, naming WHAT, when SECONDS have passed.
wait_for() {
    local seconds=$1 what=$2 deadline
    shift 2
    deadline=$((SECONDS + seconds))
    until "$@" >/dev/null 2>&1; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            printf 'gave up after %s s waiting for: %s\n' "$seconds" "$what" >&2
            return 1
        fi
        sleep "$POLL_SECONDS"
    done
}

# ---- namespaces ------------------------------------------------------------------------------------------------------------

# lab_open: after this, `lab_close` runs on every way out, and LAB_DIR is a directory that goes with it.
lab_open() {
    lab_sweep
    LAB=$PREFIX-$$
    LAB_DIR=$(mktemp -d "/tmp/$LAB-XXXXXX")
    trap lab_close EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}

lab_close() {
    trap - EXIT
    trap '' INT TERM HUP
    # CNI's own clean-up first: it needs the namespaces it made.
    if declare -F on_lab_close >/dev/null; then on_lab_close || true; fi
    lab_remove "$LAB"
}

# lab_sweep removes what runs of this script left behind when they were killed.
lab_sweep() {
    local name pid
    for name in $(lab_leftovers); do
        pid=${name#"$PREFIX-"}
        pid=${pid%%-*}
        if [ ! -d "/proc/$pid" ]; then lab_remove "$PREFIX-$pid"; fi
    done
}

lab_leftovers() {
    find /run/netns /etc/netns /tmp -mindepth 1 -maxdepth 1 -name "$PREFIX-[0-9]*" -printf '%f\n' 2>/dev/null || true
}

lab_remove() {
    local lab=$1 path
    for path in /run/netns/"$lab"-*; do
        [ -e "$path" ] || continue
        netns_kill "$(basename "$path")"
        ip netns del "$(basename "$path")" || true
    done
    rm -rf /etc/netns/"$lab"-* /tmp/"$lab"-*
}

netns_kill() {
    local name=$1
    netns_signal TERM "$name"
    wait_for 3 "the processes in $name to end" netns_is_idle "$name" 2>/dev/null || netns_signal KILL "$name"
}

netns_signal() { ip netns pids "$2" 2>/dev/null | xargs -r kill "-$1" 2>/dev/null || true; }

netns_is_idle() { [ -z "$(ip netns pids "$1" 2>/dev/null)" ]; }

# ns ROLE... makes namespaces; duplicate address detection is off, so that addresses are usable at once.
ns_add() {
    local role name
    for role in "$@"; do
        name=$LAB-$role
        ip netns add "$name"
        ip -n "$name" link set lo up
        in_ns "$role" sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0
    done
}

# in_ns ROLE COMMAND... runs COMMAND in that namespace.
in_ns() {
    local role=$1
    shift
    ip netns exec "$LAB-$role" "$@"
}

# wire ROLE IFACE ROLE IFACE MTU joins two namespaces by a cable.
wire() {
    ip link add "$2" mtu "$5" netns "$LAB-$1" type veth peer name "$4" mtu "$5" netns "$LAB-$3"
    ip -n "$LAB-$1" link set "$2" up
    ip -n "$LAB-$3" link set "$4" up
}

# resolver ROLE ADDRESS: names in that namespace are resolved by ADDRESS and nothing else (`ip netns exec` mounts these files).
resolver() {
    mkdir -p "/etc/netns/$LAB-$1"
    printf 'nameserver %s\noptions timeout:2 attempts:2\n' "$2" >"/etc/netns/$LAB-$1/resolv.conf"
    printf 'hosts: files dns\n' >"/etc/netns/$LAB-$1/nsswitch.conf"
}

# ---- pods ------------------------------------------------------------------------------------------------------------------

# cni ADD|DEL NODE POD SUBNET MTU: the CNI plugins `bridge` and `host-local` attach or detach a namespace as the pod of a node.
# They run in the node's namespace, where they make the bridge cni0 and take the first address of SUBNET as the gateway's.
cni() {
    local pod=$LAB-$3
    in_ns "$2" env CNI_COMMAND="$1" CNI_CONTAINERID="$pod" CNI_NETNS="/run/netns/$pod" CNI_IFNAME=eth0 \
        CNI_PATH=/usr/lib/cni /usr/lib/cni/bridge <<CNI
{
    "cniVersion": "0.4.0", "name": "$PREFIX", "type": "bridge",
    "bridge": "cni0", "isGateway": true, "ipMasq": false, "mtu": $5,
    "ipam": {
        "type": "host-local", "dataDir": "$LAB_DIR/cni",
        "ranges": [[{ "subnet": "$4" }]], "routes": [{ "dst": "::/0" }]
    }
}
CNI
}

# ---- servers ---------------------------------------------------------------------------------------------------------------

# start ROLE NAME COMMAND... runs a daemon in a namespace, its output in LAB_DIR/NAME.log; $! is the daemon itself.
start() {
    local role=$1 name=$2
    shift 2
    ip netns exec "$LAB-$role" "$@" </dev/null >"$LAB_DIR/$name.log" 2>&1 &
}

listens_on() { in_ns "$1" ss -Hlntu "sport = :$2" | grep -q .; }

# web_server ROLE: nginx on port 80, serving LAB_DIR/www.
web_server() {
    mkdir -p "$LAB_DIR/www" "$LAB_DIR/nginx"
    chmod 755 "$LAB_DIR" "$LAB_DIR/www"
    cat >"$LAB_DIR/nginx/nginx.conf" <<NGINX
daemon off;
user root;
worker_processes 1;
pid $LAB_DIR/nginx/pid;
error_log stderr;
events {}
http {
    access_log off;
    sendfile on;
    client_body_temp_path $LAB_DIR/nginx/body;
    proxy_temp_path $LAB_DIR/nginx/proxy;
    fastcgi_temp_path $LAB_DIR/nginx/fastcgi;
    uwsgi_temp_path $LAB_DIR/nginx/uwsgi;
    scgi_temp_path $LAB_DIR/nginx/scgi;
    server { listen 80; listen [::]:80; root $LAB_DIR/www; }
}
NGINX
    start "$1" nginx nginx -e stderr -p "$LAB_DIR/nginx" -c "$LAB_DIR/nginx/nginx.conf"
    wait_for 10 "nginx to listen" listens_on "$1" 80 || die "nginx did not start: $(cat "$LAB_DIR/nginx.log")"
}

# name_server ROLE ADDRESS: an authoritative nsd with the zones of netns-scripts/zones. Bound to a wildcard, nsd would answer
# from the interface's first address, whichever was asked.
name_server() {
    mkdir -p "$LAB_DIR/nsd"
    cat >"$LAB_DIR/nsd/nsd.conf" <<NSD
server:
    ip-address: $2
    do-ip6: no
    username: ""
    chroot: ""
    zonesdir: "$REPO/netns-scripts/zones"
    database: ""
    pidfile: "$LAB_DIR/nsd/pid"
    xfrdfile: "$LAB_DIR/nsd/xfrd.state"
    zonelistfile: "$LAB_DIR/nsd/zone.list"
    cookie-secret-file: "$LAB_DIR/nsd/cookies"
    xfrdir: "$LAB_DIR/nsd"
remote-control:
    control-enable: no
zone:
    name: example
    zonefile: example.zone
zone:
    name: 100.51.198.in-addr.arpa
    zonefile: 198.51.100.zone
NSD
    start "$1" nsd nsd -d -c "$LAB_DIR/nsd/nsd.conf"
    wait_for 10 "nsd to listen" listens_on "$1" 53 || die "nsd did not start: $(cat "$LAB_DIR/nsd.log")"
}
