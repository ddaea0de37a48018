#!/usr/bin/env bash
# Builds the container image and runs it as a container runtime would: netns-scripts/container-test.sh [BINARY]
#
# The image is unpacked from its archive and run in namespaces of its own, with the capabilities that are documented, a read-only
# /proc/sys and the two sysctls that the runtime is asked for. BINARY (target/debug/nat64 if it is left away) is packed as it is.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source-path=SCRIPTDIR/..
. netns-scripts/lib.sh

BOX=${BOX:-}

main() {
    need_root
    local binary=${1:-target/debug/nat64}
    [ -x "$binary" ] || die "$binary is missing; build it (cargo build), or name another"
    ensure_packages jq:jq util-linux:setpriv skopeo:skopeo umoci:umoci
    BOX=$(mktemp -d)
    trap 'rm -rf "$BOX"' EXIT
    packaging/container/build-image.sh --prebuilt "$binary" --output "$BOX"
    # Others read the archive, so that it is not ours alone that is right.
    skopeo copy --quiet "oci-archive:$BOX/image.tar" "oci:$BOX/copy:latest" || die "skopeo cannot read the image"
    umoci unpack --image "$BOX/copy:latest" "$BOX/bundle" >/dev/null || die "umoci cannot unpack the image"
    BOX=$BOX unshare --mount --net --pid --fork --propagation private bash "$0" --inside
    say "The image runs."
}

inside() {
    local root=$BOX/bundle/rootfs pid capabilities=+net_admin,+net_bind_service
    ip link set lo up
    ip addr add 203.0.113.1/24 dev lo
    ip -6 addr add 2001:db8::1/64 dev lo
    sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
    mount -t proc proc "$root/proc"
    mount --bind "$root/proc/sys" "$root/proc/sys"
    mount -o remount,ro,bind "$root/proc/sys"
    mount -t tmpfs none "$root/dev"
    mkdir "$root/dev/net"
    mknod "$root/dev/net/tun" c 10 200
    mknod -m 666 "$root/dev/null" c 1 3
    setpriv --bounding-set="-all,$capabilities,+sys_chroot" --inh-caps=-all --no-new-privs \
        chroot "$root" /usr/bin/nat64 run --pool4 192.0.2.1 --dns-upstream 203.0.113.53 >"$BOX/log" 2>&1 &
    pid=$!
    local end=$((SECONDS + 10))
    until chroot "$root" /usr/bin/nat64 status >"$BOX/status" 2>&1; do
        [ $SECONDS -lt $end ] || die "the health check never succeeds: $(cat "$BOX/log" "$BOX/status")"
        sleep "$POLL_SECONDS"
    done
    ip route show | grep -q '192.0.2.1 dev nat64' || die "the pool is not routed to the device"
    kill -TERM "$pid"
    wait "$pid" || die "it ended badly: $(cat "$BOX/log")"
}

case ${1:-} in
    --inside) inside ;;
    *) main "$@" ;;
esac
