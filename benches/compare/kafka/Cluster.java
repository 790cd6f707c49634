import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** The broker under load: its topic, and what clients need to know. */
final class Cluster {
  private final Setting setting;

  Cluster(Setting setting) {
    this.setting = setting;
  }

  Map<String, Object> consumerConfig(Map<String, Object> more) {
    Map<String, Object> config = new HashMap<>(more);
    config.put("bootstrap.servers", setting.url());
    config.put("key.deserializer", ByteArrayDeserializer.class);
    config.put("value.deserializer", ByteArrayDeserializer.class);
    return config;
  }

  Collection<TopicPartition> partitions() {
    List<TopicPartition> partitions = new ArrayList<>();
    for (int partition = 0; partition < setting.partitions(); partition++) {
      partitions.add(new TopicPartition(setting.stream(), partition));
    }
    return partitions;
  }

  void createTopic() throws Exception {
    try (Admin admin = admin()) {
      NewTopic topic = new NewTopic(setting.stream(), setting.partitions(), (short) 1);
      admin.createTopics(List.of(topic)).all().get();
    }
  }

  void removeTopic() throws Exception {
    try (Admin admin = admin()) {
      admin.deleteTopics(List.of(setting.stream())).all().get();
    }
  }

  void expectLength(long records) throws Exception {
    try (Admin admin = admin()) {
      Map<TopicPartition, OffsetSpec> latest = new HashMap<>();
      partitions().forEach(it -> latest.put(it, OffsetSpec.latest()));
      long there =
          admin.listOffsets(latest).all().get().values().stream().mapToLong(it -> it.offset()).sum();
      if (there != records) {
        throw new IllegalStateException(
            "void: the topic has " + there + " records instead of " + records);
      }
    }
  }

  /** Has a share group that does not exist yet begin with the first record. */
  void startShareGroupAtBeginning() throws Exception {
    try (Admin admin = admin()) {
      ConfigResource group = new ConfigResource(ConfigResource.Type.GROUP, setting.name());
      ConfigEntry earliest = new ConfigEntry("share.auto.offset.reset", "earliest");
      AlterConfigOp set = new AlterConfigOp(earliest, AlterConfigOp.OpType.SET);
      admin.incrementalAlterConfigs(Map.of(group, List.of(set))).all().get();
    }
  }

  private Admin admin() {
    return Admin.create(Map.of("bootstrap.servers", setting.url()));
  }
}
