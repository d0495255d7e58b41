#!/bin/sh
# Builds the image's root file system: deploy/image/rootfs.sh DIR, as root, because it has owners. The
# Dockerfile runs it, and so can who has no Docker; README.md says how to run a node in it.
#
# From the environment, all optional:
#   GOOS, GOARCH           what to build for; this machine's without them
#   VERSION, COMMIT, DATE  what --version says
#   CA_CERTIFICATES        the file of authorities to take (/etc/ssl/certs/ca-certificates.crt)
set -eu

if [ $# -ne 1 ] || [ -z "$1" ]; then
	echo "usage: deploy/image/rootfs.sh DIR" >&2
	exit 2
fi
authorities=${CA_CERTIFICATES:-/etc/ssl/certs/ca-certificates.crt}
mkdir -p "$1"
root=$(cd "$1" && pwd)
if [ -n "$(ls -A "$root")" ]; then
	echo "rootfs.sh: $root is not empty: what is in it would be in the image" >&2
	exit 1
fi
cd "$(dirname "$0")/../.."

# The modes below are meant as they are.
umask 022
# The name may be that of a temporary directory, for one user alone; what is in it is for all.
chmod 0755 "$root"
mkdir -p "$root/usr/local/bin" "$root/etc/ssl/certs"

# Without cgo the programs are static. The paths of this machine are not in them, so that the same source
# gives the same bytes; and they are not asked of a repository, which a copy of the source does not have.
stamp=github.com/roomring/roomring/cmd/internal/process
CGO_ENABLED=0 go build -trimpath -buildvcs=false \
	-ldflags "-s -w -X $stamp.version=${VERSION:-} -X $stamp.commit=${COMMIT:-} -X $stamp.date=${DATE:-}" \
	-o "$root/usr/local/bin/" ./cmd/roomring ./cmd/roomring-router ./cmd/roomring-shard

cp "$authorities" "$root/etc/ssl/certs/ca-certificates.crt"
chmod 0755 "$root/usr/local/bin/"*
chmod 0644 "$root/etc/ssl/certs/ca-certificates.crt"
chown -R 0:0 "$root"

# For the user that runs the programs.
mkdir -m 0700 "$root/data" "$root/etc/roomring"
chown 65532:65532 "$root/data" "$root/etc/roomring"
