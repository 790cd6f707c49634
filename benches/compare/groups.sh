#!/usr/bin/env bash
# One consumer group after the other: Towpath's plain readers, its groups of 1, 2 and 4 members, and a
# group of one member on Apache Kafka, alternating on one machine. docs/benchmarks.md says how to run it.
#
#   TOWPATH=target/release/towpath DIR=/data/compare benches/compare/groups.sh [ROUNDS [RECORDS]]
#
# Each line is a JSON object. Kafka is what Maven downloads by its own settings, with its default settings
# but for one node; needs java, mvn and jq. DIR must be missing; it is removed in the end.
set -euo pipefail

rounds=${1:-5} records=${2:-4000000} record_bytes=1024 partitions=8
towpath=$(realpath "${TOWPATH:?the program to measure}")
here=$(dirname "$(realpath "$0")")
mkdir "${DIR:?a new folder for the data}"
dir=$(realpath "$DIR")
pids=()

finish() {
  for pid in "${pids[@]}"; do kill "$pid" && wait "$pid" || true; done
  rm -rf "$dir"
}
trap finish EXIT

kafka() { java -Xmx512m -cp "$dir/lib/*" "$@"; }

# User and system time of a process so far, in seconds.
cpu_seconds() { awk -v hz="$(getconf CLK_TCK)" '{ print ($14 + $15) / hz }' "/proc/$1/stat"; }

start_kafka() {
  mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies \
    -DoutputDirectory="$dir/lib" >"$dir/mvn.log"
  cat >"$dir/kafka.properties" <<END
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:19093
listeners=PLAINTEXT://127.0.0.1:19092,CONTROLLER://127.0.0.1:19093
advertised.listeners=PLAINTEXT://127.0.0.1:19092
controller.listener.names=CONTROLLER
log.dirs=$dir/kafka
offsets.topic.replication.factor=1
group.initial.rebalance.delay.ms=0
END
  local id
  id=$(kafka kafka.tools.StorageTool random-uuid)
  kafka kafka.tools.StorageTool format -t "$id" -c "$dir/kafka.properties" >"$dir/format.log"
  java -Xms1g -Xmx1g -cp "$dir/lib/*" kafka.Kafka "$dir/kafka.properties" >"$dir/kafka.log" 2>&1 &
  kafka_pid=$!
  pids+=("$kafka_pid")
  # The tool waits until there is a broker.
  kafka org.apache.kafka.tools.TopicCommand --bootstrap-server 127.0.0.1:19092 \
    --create --topic load --partitions "$partitions" --replication-factor 1 >"$dir/topic.log"
  kafka org.apache.kafka.tools.ProducerPerformance --topic load --num-records "$records" \
    --record-size "$record_bytes" --throughput -1 --producer-props \
    bootstrap.servers=127.0.0.1:19092 batch.size=131072 linger.ms=5 acks=1 >"$dir/produce.log"
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

# Speed without the time that joining took, as `towpath bench group` counts it; `fetch.MB.sec` is in MiB.
measure_kafka() {
  local before after speed
  before=$(cpu_seconds "$kafka_pid")
  speed=$(kafka org.apache.kafka.tools.ConsumerPerformance --bootstrap-server 127.0.0.1:19092 \
    --topic load --group "group-$1" --messages "$records" --hide-header 2>/dev/null |
    awk -F', *' 'END { print $9 * 1.048576 }')
  after=$(cpu_seconds "$kafka_pid")
  jq -cn --argjson round "$1" --argjson speed "$speed" --argjson before "$before" \
    --argjson after "$after" --argjson bytes "$((records * record_bytes))" \
    '{round: $round, system: "kafka", bench: "group", clients: 1, megabytes_per_second: ($speed | round),
      server_cpu_seconds_per_gb: (($after - $before) * 1e9 / $bytes)}'
}

measure_towpath() {
  "$towpath" bench "$2" --records "$records" --size "$record_bytes" --partitions "$partitions" \
    --clients "$3" --server-pid "$towpath_pid" -o json |
    jq -c --argjson round "$1" '{round: $round, system: "towpath", bench, clients,
      megabytes_per_second: (.megabytes_per_second | round),
      server_cpu_seconds_per_gb: .server.cpu_seconds_per_gigabyte,
      client_cpu_seconds_per_gb: (.client_cpu_seconds * 1e9 / .bytes), joining_seconds}'
}

start_kafka
start_towpath
for round in $(seq "$rounds"); do
  for clients in 1 2 4; do
    measure_towpath "$round" consume "$clients"
    measure_towpath "$round" group "$clients"
  done
  measure_kafka "$round"
done
