#!/usr/bin/env bash
# Three shards and two routers as processes of their own on this machine, the
# way they would run on five. Ctrl-C drains and ends all of them.
#
#   deploy/local/cluster.sh             shards s1 s2 s3, routers r1 (8000) and r2 (8010)
#   kill -9 $(cat DIR/s2.pid)           see what a dead shard does; DIR is printed
#   deploy/local/cluster.sh shard s4 40 one more shard, joining the first
set -euo pipefail
cd "$(dirname "$0")/../.."

go build -o bin/ ./cmd/...

seed=127.0.0.1:7401

# A shard's ports are 74NN, 74NN+1 and 74NN+2.
shard() {
	local id=$1 nn=$2
	exec bin/roomring-shard --id "$id" --join "$seed" --link "127.0.0.1:74$nn" \
		--gossip "127.0.0.1:74$(printf %02d $((10#$nn + 1)))" --admin "127.0.0.1:74$(printf %02d $((10#$nn + 2)))"
}

router() {
	local id=$1 port=$2
	exec bin/roomring-router --id "$id" --join "$seed" --listen "127.0.0.1:$port" --admin "127.0.0.1:$((port + 1))" \
		--gossip "127.0.0.1:$((port + 2))" --link "127.0.0.1:$((port + 3))"
}

if [ "${1:-}" = shard ]; then
	shard "$2" "$3"
fi

dir=$(mktemp -d "${TMPDIR:-/tmp}/roomring.XXXXXX")
pids=()
start() {
	local id=$2
	"$@" >"$dir/$id.log" 2>&1 &
	pids+=($!)
	echo $! >"$dir/$id.pid"
}
trap 'kill -TERM "${pids[@]}" 2>/dev/null || true; wait; exit 0' INT TERM

start shard s1 00
start shard s2 10
start shard s3 20
start router r1 8000
start router r2 8010

echo "logs and pids: $dir"
echo "clients:  ws://127.0.0.1:8000/ws?room=NAME  ws://127.0.0.1:8010/ws?room=NAME"
echo "the ring: bin/roomring ring --node 127.0.0.1:8001"
wait
