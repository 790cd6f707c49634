import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;

/** Which records were read: each partition's in the order of their offsets. */
final class Ledger {
  private final long[] next;
  private long count;

  Ledger(int partitions) {
    this.next = new long[partitions];
  }

  long count() {
    return count;
  }

  void note(ConsumerRecords<byte[], byte[]> records) {
    for (ConsumerRecord<byte[], byte[]> record : records) {
      if (record.offset() != next[record.partition()]++) {
        throw new IllegalStateException("void: record " + record.offset() + " came out of order");
      }
      count++;
    }
  }

  void expect(long records) {
    if (count < records) {
      throw new IllegalStateException("void: " + count + " records were read instead of " + records);
    }
  }
}
