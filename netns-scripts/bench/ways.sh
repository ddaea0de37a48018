# shellcheck shell=bash
# The ways through the gateway that bench.sh compares. `start_WAY` sets one up beside the others; a way with `enter_WAY` and
# `leave_WAY` has these run around each of its measurements, so that it costs the others nothing.

CLIENT6=2001:db8:1::10 CLIENT4=10.64.0.10
SERVER6=2001:db8:2::10 SERVER4=198.51.100.10

declare -A FROM TO LISTEN     # by way: the client's address, the server's as the client knows it, and the server's own

# during WAY COMMAND... runs COMMAND while that way is set up.
during() {
    local way=$1 status=0
    shift
    if declare -F "enter_$way" >/dev/null; then "enter_$way"; fi
    "$@" || status=$?
    if declare -F "leave_$way" >/dev/null; then "leave_$way"; fi
    return "$status"
}

FROM[forward6]=$CLIENT6 TO[forward6]=$SERVER6 LISTEN[forward6]=$SERVER6
start_forward6() { :; }

FROM[nat64]=$CLIENT6 TO[nat64]=64:ff9b:1::c633:640a LISTEN[nat64]=$SERVER4
start_nat64() {
    cat >"$LAB_DIR/nat64.toml" <<NAT64
pref64 = "64:ff9b:1::/96"
[translator]
pool4 = ["203.0.113.0/24"]
[translator.limits]
sessions = 8000000
mappings = 8000000
[control]
socket = "$LAB_DIR/nat64.sock"
NAT64
    start gateway nat64 "$NAT64" run --config "$LAB_DIR/nat64.toml"
    wait_for 15 "nat64 to be ready" in_ns gateway "$NAT64" status --control-socket "$LAB_DIR/nat64.sock" ||
        die "nat64 did not become ready: $(cat "$LAB_DIR/nat64.log")"
}

FROM[nat44]=$CLIENT4 TO[nat44]=$SERVER4 LISTEN[nat44]=$SERVER4
start_nat44() { :; }
enter_nat44() { nat44_on 10.64.0.0/16; }
leave_nat44() { nat44_off; }

# TAYGA translates without state, so the kernel has to share out the IPv4 addresses behind it.
FROM[tayga]=$CLIENT6 TO[tayga]=2001:db8:64ff::c633:640a LISTEN[tayga]=$SERVER4
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
    start gateway tayga tayga --nodetach --config "$LAB_DIR/tayga/tayga.conf"
}
enter_tayga() { nat44_on 192.168.64.0/24; }
leave_tayga() { nat44_off; }

# nat44_on SOURCES: the kernel translates these to as many addresses as nat64 has.
nat44_on() {
    in_ns gateway nft -f - <<NFT
table ip nat44 {
    chain postrouting {
        type nat hook postrouting priority srcnat;
        oifname "wan" ip saddr $1 snat to 192.0.2.0-192.0.2.255
    }
}
NFT
}

# Without the table the kernel stops tracking connections; those it knows are forgotten.
nat44_off() {
    in_ns gateway nft delete table ip nat44
    in_ns gateway conntrack --flush 2>/dev/null
}
