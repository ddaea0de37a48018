#!/usr/bin/env bash
# Installs, starts, upgrades, removes and purges the Debian package: netns-scripts/package-test.sh [BINARY]
#
# In a throw-away copy of this system (an overlay over / in a mount namespace) with a network namespace of its own; nothing
# of the host changes. systemd does not have to run: the unit's command is run as the unit has it, by its user and with its
# capabilities. BINARY (target/debug/nat64 if it is left away) is packed as it is.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source-path=SCRIPTDIR/..
. netns-scripts/lib.sh

UNIT=/usr/lib/systemd/system/nat64.service
BOX=${BOX:-}

main() {
    need_root
    local binary=${1:-target/debug/nat64}
    [ -x "$binary" ] || die "$binary is missing; build it (cargo build), or name another"
    ensure_packages adduser:adduser util-linux:setpriv binutils:strip dpkg-dev:dpkg-shlibdeps lintian:lintian nftables:nft \
        systemd:systemd-analyze
    BOX=$(mktemp -d)
    trap 'rm -rf "$BOX"' EXIT
    packaging/build-deb.sh --prebuilt "$binary" --version 1.0-1 --output "$BOX" >/dev/null
    packaging/build-deb.sh --prebuilt "$binary" --version 1.1-1 --output "$BOX" >/dev/null
    look_for_faults
    BOX=$BOX unshare --mount --net --propagation private bash "$0" --inside
    say "The package installs, starts, upgrades and goes."
}

look_for_faults() {
    # The project has no address for mail and no Debian changelog.
    lintian --fail-on error --suppress-tags no-changelog,bogus-mail-host \
        "$BOX"/nat64_1.0-1_*.deb || die "lintian found errors"
    # It looks for the program where the unit says it is.
    local root=$BOX/extracted
    dpkg-deb -x "$BOX"/nat64_1.0-1_*.deb "$root"
    ! grep -q '^\(pool4\|upstreams\) = ' "$root/etc/nat64/nat64.toml" || die "the installed file turns something on"
    local unit=$root$UNIT
    sed -i "s|/usr/bin/nat64|$root/usr/bin/nat64|" "$unit"
    systemd-analyze verify "$unit" 2>&1 | grep -F nat64.service | tee "$BOX/verify" || true
    [ ! -s "$BOX/verify" ] || die "systemd-analyze finds faults with the unit"
    systemd-analyze security --offline=true --threshold=25 "$unit" >"$BOX/security" 2>&1 ||
        { cat "$BOX/security"; die "the unit is exposed more than 2.5"; }
    tail -n 1 "$BOX/security"
}

# ---- in the throw-away system ------------------------------------------------------------------------------------------------

inside() {
    mount -t tmpfs none "$BOX"/mnt 2>/dev/null || { mkdir "$BOX/mnt" && mount -t tmpfs none "$BOX/mnt"; }
    mkdir "$BOX"/mnt/{upper,work,root}
    local root=$BOX/mnt/root
    mount -t overlay overlay -o "lowerdir=/,upperdir=$BOX/mnt/upper,workdir=$BOX/mnt/work" "$root"
    mkdir -p "$root/packages/netns-scripts"
    cp "$BOX"/*.deb "$root/packages/"
    cp netns-scripts/package-test.sh netns-scripts/lib.sh "$root/packages/netns-scripts/"
    mount --rbind /dev "$root/dev"
    # As udev has it (50-udev-default.rules); a machine without udev may keep it for root.
    mknod -m 666 "$BOX/mnt/tun" c 10 200
    mount --bind "$BOX/mnt/tun" "$root/dev/net/tun"
    mount --bind /proc "$root/proc"
    mount -t tmpfs none "$root/run"
    ip link set lo up
    ip addr add 203.0.113.1/24 dev lo
    ip -6 addr add 2001:db8::1/64 dev lo
    chroot "$root" /bin/bash /packages/netns-scripts/package-test.sh --in-chroot
}

in_chroot() {
    cd /
    dpkg --purge nat64 >/dev/null 2>&1 || true
    say "- install"
    dpkg -i /packages/nat64_1.0-1_*.deb >/packages/log || die "dpkg: $(cat /packages/log)"
    grep -q 'systemctl enable --now nat64' /packages/log || die "the installation does not say what to do next"
    getent passwd nat64 >/dev/null || die "there is no user nat64"
    local file
    for file in /usr/bin/nat64 $UNIT /usr/share/bash-completion/completions/nat64 \
        /usr/share/zsh/vendor-completions/_nat64 /usr/share/fish/vendor_completions.d/nat64.fish; do
        [ -s "$file" ] || die "$file is missing"
    done
    ls /var/lib/dpkg/info/nat64.list >/dev/null
    grep -q '/usr/share/man/man1/nat64-run.1.gz' /var/lib/dpkg/info/nat64.list || die "there is no manual page"
    bash -n /usr/share/bash-completion/completions/nat64

    say "- as installed, it does nothing and says what it needs"
    if as_unit >/packages/log 2>&1; then die "it ran without being told what to do"; fi
    grep -q pool4 /packages/log || die "it does not name what it needs: $(cat /packages/log)"

    say "- configured, it starts as its user"
    sed -i -e 's/^#pool4 = .*/pool4 = ["192.0.2.1"]/' /etc/nat64/nat64.toml
    nat64 check /etc/nat64/nat64.toml >/dev/null
    runs_as_its_user

    say "- it shares an address of the host, and takes that back as well"
    sed -i -e 's/^pool4 = .*/pool4 = [{ address = "203.0.113.1", ports = "20000-29999" }]/' /etc/nat64/nat64.toml
    runs_as_its_user
    [ -z "$(nft list tables)" ] || die "a table of nftables is left"
    sed -i -e 's/^pool4 = .*/pool4 = ["192.0.2.1"]/' /etc/nat64/nat64.toml

    say "- a file that its user cannot read is named"
    chmod 600 /etc/nat64/nat64.toml
    if as_unit >/packages/log 2>&1; then die "it ran without its configuration"; fi
    grep -q '/etc/nat64/nat64.toml.*ermission denied' /packages/log || die "the message is: $(cat /packages/log)"
    chmod 644 /etc/nat64/nat64.toml

    say "- upgrade keeps the configuration"
    dpkg -i --force-confdef --force-confold /packages/nat64_1.1-1_*.deb >/packages/log 2>&1 ||
        die "dpkg: $(cat /packages/log)"
    grep -q '^pool4 = ' /etc/nat64/nat64.toml || die "the upgrade replaced the configuration"
    runs_as_its_user

    say "- removal keeps the configuration, purging takes it"
    mkdir -p /var/log/nat64
    dpkg --remove nat64 >/dev/null
    [ ! -e /usr/bin/nat64 ] || die "the program is still there"
    [ -e /etc/nat64/nat64.toml ] || die "removal took the configuration"
    dpkg --purge nat64 >/dev/null
    if [ -e /etc/nat64 ] || [ -e /var/log/nat64 ]; then die "purging leaves files"; fi
    dpkg -i /packages/nat64_1.0-1_*.deb >/dev/null
    dpkg --purge nat64 >/dev/null
}

# Runs the unit's command as systemd would: as its user, with its capabilities and its directories.
as_unit() {
    local command capabilities
    command=$(sed -n 's/^ExecStart=//p' $UNIT)
    capabilities=$(sed -n 's/^AmbientCapabilities=//p' $UNIT | tr '[:upper:]' '[:lower:]' | sed 's/cap_/+/g; s/ /,/g')
    install -d -o nat64 -g nat64 -m 755 /run/nat64
    # shellcheck disable=SC2086  # words of a command
    exec_in_place setpriv --reuid nat64 --regid nat64 --init-groups --no-new-privs --inh-caps="-all,$capabilities" \
        --ambient-caps="-all,$capabilities" --bounding-set="-all,$capabilities" $command
}

# In the background, the process is to be the daemon itself.
exec_in_place() {
    if [ "${IN_BACKGROUND:-}" ]; then exec "$@"; else timeout 20 "$@"; fi
}

runs_as_its_user() {
    local pid
    (IN_BACKGROUND=1 as_unit) >/packages/log 2>&1 &
    pid=$!
    wait_until "the daemon answers" nat64 status || die "it does not start: $(cat /packages/log)"
    check_threads "$pid"
    kill -TERM "$pid"
    wait "$pid" || die "it ended badly: $(cat /packages/log)"
    [ -z "$(ip route show 192.0.2.1)" ] || die "a route is left: it could not be taken back"
}

# Each thread has its user, no way to more rights, and no capability but CAP_NET_ADMIN (bit 12) on those that change the network.
check_threads() {
    local status name effective
    for status in /proc/"$1"/task/*/status; do
        name=$(sed -n 's/^Name:\t//p' "$status")
        grep -qP "^Uid:\t$(id -u nat64)\t" "$status" || die "thread $name runs as another user"
        grep -qP '^NoNewPrivs:\t1$' "$status" || die "thread $name may gain privileges"
        effective=$(sed -n 's/^CapEff:\t0*//p' "$status")
        case $name:$effective in
            nat64:1000 | nat64-network:1000) ;;
            nat64: | nat64-network:) die "thread $name cannot take the network back" ;;
            *:) ;;
            *) die "thread $name has capabilities $effective" ;;
        esac
    done
}

# wait_until WHAT COMMAND...: for 10 s at most.
wait_until() {
    local what=$1 end=$((SECONDS + 10))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || { say "never: $what"; return 1; }
        sleep "$POLL_SECONDS"
    done
}

case ${1:-} in
    --inside) inside ;;
    --in-chroot) in_chroot ;;
    *) main "$@" ;;
esac
