import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** A producer of one client. Values are slices of random bytes, which do not compress. */
final class Writer implements AutoCloseable {
  /** Batches as large as those of Towpath's SDK. */
  static final Map<String, Object> BATCHING = Map.of("batch.size", 131072, "linger.ms", 5);
  /** For one record in flight. */
  static final Map<String, Object> AT_ONCE = Map.of("linger.ms", 0);

  private static final int VALUES = 4096;
  private static final int LOOK_AT_CLOCK = 100;

  private final Setting setting;
  private final KafkaProducer<byte[], byte[]> producer;
  private final byte[][] values;
  private final AtomicReference<Exception> failure = new AtomicReference<>();
  private int next;

  Writer(Setting setting, Map<String, Object> batching) {
    Map<String, Object> config = new HashMap<>(batching);
    config.put("bootstrap.servers", setting.url());
    config.put("key.serializer", ByteArraySerializer.class);
    config.put("value.serializer", ByteArraySerializer.class);
    this.setting = setting;
    this.producer = new KafkaProducer<>(config);
    this.values = new byte[setting.clients() == 1 ? VALUES : 1][setting.size()];
    Random random = new Random(7);
    for (byte[] value : values) {
      random.nextBytes(value);
    }
  }

  /** Sends so many records, many in flight, and returns once all are acknowledged: how many it sent in time. */
  long write(long records, Duration longest) throws Exception {
    long end = System.nanoTime() + longest.toNanos();
    long sent = 0;
    while (sent < records && (sent % LOOK_AT_CLOCK != 0 || System.nanoTime() < end)) {
      producer.send(
          record(),
          (metadata, exception) -> {
            if (exception != null) {
              failure.set(exception);
            }
          });
      sent++;
    }
    producer.flush();
    if (failure.get() != null) {
      throw failure.get();
    }
    return sent;
  }

  /** Sends each record after the acknowledgement of the one before; the time of each in nanoseconds. */
  List<Long> writeOneByOne(long records, Duration longest) throws Exception {
    List<Long> nanos = new ArrayList<>();
    long begin = System.nanoTime();
    for (long sent = begin; nanos.size() < records && sent - begin < longest.toNanos(); ) {
      producer.send(record()).get();
      long now = System.nanoTime();
      nanos.add(now - sent);
      sent = now;
    }
    return nanos;
  }

  private ProducerRecord<byte[], byte[]> record() {
    next = (next + 1) % values.length;
    return new ProducerRecord<>(setting.stream(), values[next]);
  }

  @Override
  public void close() {
    producer.close();
  }
}
