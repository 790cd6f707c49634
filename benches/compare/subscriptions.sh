#!/usr/bin/env bash
# Deliveries acked a second, each record by itself: Towpath's durable subscriptions, NATS JetStream's durable
# pull consumers and Redis streams' consumer groups, alternating on one machine. docs/benchmarks.md says how
# to run it.
#
#   TOWPATH=target/release/towpath DIR=/data/compare benches/compare/subscriptions.sh [ROUNDS [RECORDS]]
#
# Each line is a JSON object. Needs jq; go, which fetches nats-server by its own settings, and redis-server:
# what is missing is left out, and a line says so. DIR must be missing; it is removed in the end.
set -euo pipefail

rounds=${1:-5} records=${2:-1000000} sizes=${SIZES:-100 1024} clients=${CLIENTS:-1 4}
towpath=$(realpath "${TOWPATH:?the program to measure}")
here=$(dirname "$(realpath "$0")")
mkdir "${DIR:?a new folder for the data}"
dir=$(realpath "$DIR")
load=$dir/load
pids=()
# Of each server that runs: what it is, its process and where it listens.
peers=()

finish() {
  for pid in "${pids[@]}"; do kill "$pid" && wait "$pid" || true; done
  rm -rf "$dir"
}
trap finish EXIT

# User and system time of a process so far, in seconds.
cpu_seconds() { awk -v hz="$(getconf CLK_TCK)" '{ print ($14 + $15) / hz }' "/proc/$1/stat"; }

left_out() { jq -cn --arg system "$1" --arg reason "$2" '{system: $system, left_out: $reason}'; }

free_port() {
  local port
  for port in $(shuf -i 20000-32000 -n 100); do
    (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port" && return; }
  done
  return 1
}

wait_for_port() {
  local _
  for _ in $(seq 100); do
    (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return
    sleep 0.1
  done
  return 1
}

# Starts a server by its name, port and command; its process is $peer_pid.
start() {
  local name=$1 port=$2
  shift 2
  "$@" >>"$dir/$name.log" 2>&1 &
  peer_pid=$!
  pids+=("$peer_pid")
  wait_for_port "$port"
}

# Writes the records into a server, by its load program and port.
prepare() {
  local size
  for size in $sizes; do
    "$load" "$1" prepare -url "127.0.0.1:$2" -records "$records" -size "$size"
  done
}

start_nats() {
  local sync name port
  for sync in 2m always; do
    name=nats-$sync port=$(free_port)
    local command=("$dir/nats-server" --addr 127.0.0.1 --port "$port" -c "$dir/$name.conf")
    # Written without a sync each, whatever is measured: that takes minutes.
    echo "jetstream { store_dir: \"$dir/$name\" }" >"$dir/$name.conf"
    start "$name" "$port" "${command[@]}"
    prepare nats "$port"
    kill "$peer_pid" && wait "$peer_pid" || true
    unset "pids[-1]"
    echo "jetstream { store_dir: \"$dir/$name\", sync_interval: $sync }" >"$dir/$name.conf"
    start "$name" "$port" "${command[@]}"
    peers+=("$name nats $port $peer_pid")
  done
}

start_redis() {
  local sync name port
  for sync in everysec always; do
    name=redis-$sync port=$(free_port)
    mkdir "$dir/$name"
    start "$name" "$port" redis-server --bind 127.0.0.1 --port "$port" --dir "$dir/$name" \
      --appendonly yes --appendfsync "$sync" --save ""
    prepare redis "$port"
    peers+=("$name redis $port $peer_pid")
  done
}

start_peers() {
  if ! command -v go >/dev/null; then
    left_out nats "go is not installed"
    left_out redis "go is not installed, which its load program needs"
    return
  fi
  if ! (cd "$here/subscriptions" && go build -o "$load" . &&
    go build -o "$dir/nats-server" github.com/nats-io/nats-server/v2) >"$dir/go.log" 2>&1; then
    left_out "nats and redis" "go cannot build them: $(tail -n 1 "$dir/go.log")"
    return
  fi
  start_nats
  if command -v redis-server >/dev/null; then
    start_redis
  else
    left_out redis "redis-server is not installed"
  fi
}

start_towpath() {
  mkfifo "$dir/ready"
  "$towpath" serve --listen 127.0.0.1:0 --data-dir "$dir/towpath" -o json \
    >"$dir/ready" 2>"$dir/towpath.log" &
  towpath_pid=$!
  pids+=("$towpath_pid")
  TOWPATH_URL=$(head -n 1 "$dir/ready" | jq -r .url)
  export TOWPATH_URL
}

# What is measured, by $setting: round, size and clients. The rest are flags of `towpath bench subscription`.
measure_towpath() {
  "$towpath" bench subscription --records "$records" --size "$size" --clients "$count" \
    --server-pid "$towpath_pid" -o json "$@" |
    jq -c --argjson round "$round" '{round: $round, system: "towpath", mode, keys, size_bytes, clients,
      records_per_second: (.records_per_second | round),
      server_cpu_seconds_per_million: (.server.cpu_seconds * 1e6 / .records),
      client_cpu_seconds_per_million: (.client_cpu_seconds * 1e6 / .records),
      ack_p50_us: .latency_us.p50, ack_p99_us: .latency_us.p99}'
}

measure_peer() {
  local name=$1 system=$2 port=$3 pid=$4 before report after
  before=$(cpu_seconds "$pid")
  report=$("$load" "$system" measure -url "127.0.0.1:$port" -records "$records" -size "$size" \
    -clients "$count" -name "load-$round-$count")
  after=$(cpu_seconds "$pid")
  jq -c --argjson round "$round" --arg system "$name" --argjson size "$size" --argjson clients "$count" \
    --argjson cpu "$(jq -n "$after - $before")" --argjson records "$records" \
    '{round: $round, system: $system, size_bytes: $size, clients: $clients,
      records_per_second: (.records_per_second | round),
      server_cpu_seconds_per_million: ($cpu * 1e6 / $records),
      client_cpu_seconds_per_million: (.client_cpu_seconds * 1e6 / $records)}' <<<"$report"
}

start_peers
start_towpath
for round in $(seq "$rounds"); do
  for size in $sizes; do
    for count in $clients; do
      measure_towpath --mode shared
      for keys in 1 100 10000; do
        measure_towpath --mode key-shared --keys "$keys"
      done
      for peer in "${peers[@]}"; do
        # shellcheck disable=SC2086 # Four words.
        measure_peer $peer
      done
    done
  done
done
