import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.consumer.AcknowledgeType;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaShareConsumer;

/** A share group: each record is acked by itself; acks go with the next fetch, the last ones are waited for. */
final class Settling {
  private static final Duration POLL = Duration.ofMillis(100);
  private static final Duration PATIENCE = Duration.ofMinutes(1);
  private static final int BITS = 5;

  private final Setting setting;
  private final Cluster cluster;
  private final AtomicIntegerArray seen;
  private final AtomicLong left;

  Settling(Setting setting, Cluster cluster) {
    this.setting = setting;
    this.cluster = cluster;
    this.seen = new AtomicIntegerArray(Math.toIntExact((setting.records() >> BITS) + 1));
    this.left = new AtomicLong(setting.records());
  }

  Figures measure() throws Exception {
    cluster.startShareGroupAtBeginning();
    Meter meter = new Meter(setting);
    var threads = Executors.newCachedThreadPool();
    try {
      List<Future<Object>> ended = new ArrayList<>();
      for (int client = 0; client < setting.clients(); client++) {
        ended.add(threads.submit(this::settle));
      }
      for (Future<Object> it : ended) {
        it.get();
      }
    } finally {
      threads.shutdown();
    }
    Figures measured = meter.stop(setting.records());
    if (left.get() != 0) {
      throw new IllegalStateException("void: " + left.get() + " records never came");
    }
    return measured;
  }

  private Object settle() {
    Map<String, Object> group =
        Map.of("group.id", setting.name(), "share.acknowledgement.mode", "explicit");
    try (KafkaShareConsumer<byte[], byte[]> consumer =
        new KafkaShareConsumer<>(cluster.consumerConfig(group))) {
      consumer.subscribe(List.of(setting.stream()));
      long end = System.nanoTime() + PATIENCE.toNanos();
      while (left.get() > 0 && System.nanoTime() < end) {
        for (ConsumerRecord<byte[], byte[]> record : consumer.poll(POLL)) {
          note(record.offset());
          consumer.acknowledge(record, AcknowledgeType.ACCEPT);
        }
      }
      consumer
          .commitSync()
          .forEach(
              (partition, refused) ->
                  refused.ifPresent(
                      it -> {
                        throw it;
                      }));
    }
    return null;
  }

  private void note(long offset) {
    int bit = 1 << (offset & ((1 << BITS) - 1));
    int before = seen.getAndAccumulate((int) (offset >> BITS), bit, (old, it) -> old | it);
    if ((before & bit) != 0) {
      throw new IllegalStateException("void: record " + offset + " came twice");
    }
    left.decrementAndGet();
  }
}
