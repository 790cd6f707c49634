import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;

/**
 * Measures Apache Kafka from outside, as {@code towpath bench} measures Towpath. A run in which a record is
 * missing, comes twice or comes out of order is void.
 *
 * <pre>java Load produce|latency|fill|consume|group|settle [-flag value]...</pre>
 *
 * What is measured goes to stdout as one JSON object. {@code compare} of towpath-benches runs it.
 */
public final class Load {
  /** One part in so many is run before the clock starts: the virtual machine is cold. */
  private static final int WARM_UP_SHARE = 4;

  private static final Duration POLL = Duration.ofMillis(100);
  private static final Duration PATIENCE = Duration.ofMinutes(1);

  private final Setting setting;
  private final Cluster cluster;

  private Load(Setting setting) {
    this.setting = setting;
    this.cluster = new Cluster(setting);
  }

  public static void main(String[] args) throws Exception {
    Setting setting = Setting.parse(args);
    Load load = new Load(setting);
    Figures measured =
        switch (setting.work()) {
          case "produce" -> load.within(load::produce);
          case "latency" -> load.within(load::latency);
          case "fill" -> load.fill();
          case "consume" -> load.consume();
          case "group" -> load.group();
          case "settle" -> new Settling(setting, load.cluster).measure();
          default -> throw new IllegalArgumentException("there is no work " + setting.work());
        };
    if (measured != null) {
      System.out.println(measured.json());
    }
  }

  /** Makes a topic for what is measured, and removes it. */
  private Figures within(Callable<Figures> measure) throws Exception {
    cluster.createTopic();
    try {
      return measure.call();
    } finally {
      cluster.removeTopic();
    }
  }

  private Figures produce() throws Exception {
    try (Writer writer = new Writer(setting, Writer.BATCHING)) {
      long warm = writer.write(setting.records() / WARM_UP_SHARE, setting.longest().dividedBy(WARM_UP_SHARE));
      Meter meter = new Meter(setting);
      long written = writer.write(setting.records(), setting.longest());
      Figures measured = meter.stop(written);
      cluster.expectLength(warm + written);
      return measured;
    }
  }

  /** Each client writes a record, waits for its acknowledgement, and writes the next. */
  private Figures latency() throws Exception {
    List<Writer> writers = new ArrayList<>();
    var threads = Executors.newCachedThreadPool();
    try {
      for (int client = 0; client < setting.clients(); client++) {
        writers.add(new Writer(setting, Writer.AT_ONCE));
      }
      long each = setting.records() / setting.clients();
      long warm = writeOneByOne(threads, writers, each / WARM_UP_SHARE, setting.longest().dividedBy(WARM_UP_SHARE)).size();
      Meter meter = new Meter(setting);
      List<Long> nanos = writeOneByOne(threads, writers, each, setting.longest());
      Figures measured = meter.stop(nanos.size()).withLatencies(nanos);
      cluster.expectLength(warm + nanos.size());
      return measured;
    } finally {
      writers.forEach(Writer::close);
      threads.shutdown();
    }
  }

  private static List<Long> writeOneByOne(
      java.util.concurrent.ExecutorService threads, List<Writer> writers, long each, Duration longest)
      throws Exception {
    List<Future<List<Long>>> ended = new ArrayList<>();
    for (Writer writer : writers) {
      ended.add(threads.submit(() -> writer.writeOneByOne(each, longest)));
    }
    List<Long> nanos = new ArrayList<>();
    for (Future<List<Long>> it : ended) {
      nanos.addAll(it.get());
    }
    return nanos;
  }

  /** Makes a topic that stays. */
  private Figures fill() throws Exception {
    cluster.createTopic();
    try (Writer writer = new Writer(setting, Writer.BATCHING)) {
      cluster.expectLength(writer.write(setting.records(), Duration.ofHours(1)));
    }
    return null;
  }

  /** Reads all partitions from their start. */
  private Figures consume() throws Exception {
    try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(cluster.consumerConfig(Map.of()))) {
      consumer.assign(cluster.partitions());
      read(consumer, setting.records() / WARM_UP_SHARE);
      Meter meter = new Meter(setting);
      read(consumer, setting.records());
      return meter.stop(setting.records());
    }
  }

  private void read(KafkaConsumer<byte[], byte[]> consumer, long records) {
    consumer.seekToBeginning(consumer.assignment());
    Ledger ledger = new Ledger(setting.partitions());
    long end = System.nanoTime() + PATIENCE.toNanos();
    while (ledger.count() < records && System.nanoTime() < end) {
      ledger.note(consumer.poll(POLL));
    }
    ledger.expect(records);
  }

  /** One member of a group reads everything; time runs from its first records on, as joining is a matter of waiting. */
  private Figures group() throws Exception {
    // The virtual machine gets warm on the same records, without a group.
    consume();
    Map<String, Object> group = Map.of("group.id", setting.name(), "auto.offset.reset", "earliest");
    try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(cluster.consumerConfig(group))) {
      consumer.subscribe(List.of(setting.stream()));
      Ledger ledger = new Ledger(setting.partitions());
      Meter meter = null;
      long uncounted = 0;
      long end = System.nanoTime() + PATIENCE.toNanos();
      while (ledger.count() < setting.records() && System.nanoTime() < end) {
        ledger.note(consumer.poll(POLL));
        if (meter == null && ledger.count() > 0) {
          uncounted = ledger.count();
          meter = new Meter(setting);
        }
      }
      ledger.expect(setting.records());
      consumer.commitSync();
      Figures measured = meter.stop(setting.records() - uncounted);
      Map<TopicPartition, OffsetAndMetadata> committed = consumer.committed(consumer.assignment());
      long handled = committed.values().stream().mapToLong(OffsetAndMetadata::offset).sum();
      if (handled != setting.records()) {
        throw new IllegalStateException("void: the group has committed " + handled + " records");
      }
      return measured;
    }
  }
}
