#!/usr/bin/env bash
# Makes an OCI image with the program and the libraries it needs, nothing else, and without a registry:
# packaging/container/build-image.sh [--prebuilt BINARY] [--output DIRECTORY]
#
# Without --prebuilt, the program is built for release first. DIRECTORY/image.tar is an OCI layout for `podman load`,
# `skopeo copy oci-archive:…` or `ctr image import`; DIRECTORY/rootfs is the same as files. Needs jq.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source-path=SCRIPTDIR/../..
. netns-scripts/lib.sh

main() {
    local binary="" output=target/container
    while [ $# -gt 0 ]; do
        case $1 in
            --prebuilt) binary=$2 ;;
            --output) output=$2 ;;
            *) sed -n '2,6s/^# \{0,1\}//p' packaging/container/build-image.sh >&2; exit 2 ;;
        esac
        shift 2
    done
    has_tool jq || die "jq is missing (apt-get install jq)"
    if [ -z "$binary" ]; then
        ensure_cargo
        cargo build --locked --release --bin nat64 >&2
        binary=${CARGO_TARGET_DIR:-target}/release/nat64
    fi
    rm -rf "$output/rootfs" "$output/layout" "$output/image.tar"
    mkdir -p "$output/rootfs" "$output/layout/blobs/sha256"
    fill "$output/rootfs" "$binary"
    pack "$output"
    say "$output/image.tar"
}

# Puts the program, what it is linked with and what it looks for into a directory.
fill() {
    local root=$1 library
    install -D -m 755 "$2" "$root/usr/bin/nat64"
    strip "$root/usr/bin/nat64" 2>/dev/null || true
    # The loader and libraries keep their places, which the program and the loader know.
    ldd "$2" | grep -o '/[^ ]*' | while read -r library; do
        install -D -m 755 "$(readlink -f "$library")" "$root$library"
    done
    mkdir -p "$root"/{etc/nat64,run,tmp,dev,proc,sys,var/log/nat64}
    sed -E 's/^(pool4|upstreams) = /#&/' packaging/nat64.toml >"$root/etc/nat64/nat64.toml"
    printf 'root:x:0:0:root:/:/usr/bin/nat64\n' >"$root/etc/passwd"
    printf 'root:x:0:\n' >"$root/etc/group"
    # What upstreams over TLS are checked by.
    if [ -e /etc/ssl/certs/ca-certificates.crt ]; then
        install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
    fi
}

# Packs the directory as the image's one layer (OCI image format specification 1.1).
pack() {
    local output=$1 layout=$1/layout layer diff config manifest
    tar -C "$output/rootfs" --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -cf "$output/layer.tar" .
    diff=$(digest "$output/layer.tar")
    gzip -9n "$output/layer.tar"
    layer=$(blob "$output/layer.tar.gz" application/vnd.oci.image.layer.v1.tar+gzip)
    jq -n --arg diff "sha256:$diff" --arg arch "$(architecture)" '{
        architecture: $arch, os: "linux",
        config: { Entrypoint: ["/usr/bin/nat64"], Cmd: ["run"], Env: ["PATH=/usr/bin"] },
        rootfs: { type: "layers", diff_ids: [$diff] }
    }' >"$output/config.json"
    config=$(blob "$output/config.json" application/vnd.oci.image.config.v1+json)
    jq -n --argjson config "$config" --argjson layer "$layer" '{
        schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json", config: $config, layers: [$layer]
    }' >"$output/manifest.json"
    manifest=$(blob "$output/manifest.json" application/vnd.oci.image.manifest.v1+json)
    jq -n --argjson manifest "$manifest" '{
        schemaVersion: 2, manifests: [$manifest + {annotations: {"org.opencontainers.image.ref.name": "nat64:latest"}}]
    }' >"$layout/index.json"
    printf '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
    tar -C "$layout" --sort=name --owner=0 --group=0 --mtime=@0 -cf "$output/image.tar" .
}

# blob FILE TYPE: moves it among the blobs and prints its descriptor.
blob() {
    local sum size
    sum=$(digest "$1")
    size=$(stat -c %s "$1")
    mv "$1" "$(dirname "$1")/layout/blobs/sha256/$sum"
    jq -nc --arg type "$2" --arg sum "sha256:$sum" --argjson size "$size" '{mediaType: $type, digest: $sum, size: $size}'
}

digest() { sha256sum "$1" | cut -d' ' -f1; }

# As Go names it, which the specification goes by.
architecture() {
    case $(uname -m) in
        x86_64) echo amd64 ;;
        aarch64) echo arm64 ;;
        *) uname -m ;;
    esac
}

main "$@"
