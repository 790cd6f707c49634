import java.time.Duration;
import java.util.HashMap;
import java.util.Map;

/** What is written and read: the flags. */
record Setting(
    String work,
    String url,
    long serverPid,
    long records,
    int size,
    int partitions,
    int clients,
    Duration longest,
    String stream,
    String name) {

  static Setting parse(String[] args) {
    Map<String, String> flags = new HashMap<>();
    for (int index = 1; index + 1 < args.length; index += 2) {
      flags.put(args[index], args[index + 1]);
    }
    return new Setting(
        args.length == 0 ? "" : args[0],
        flags.get("-url"),
        Long.parseLong(flags.getOrDefault("-server-pid", "0")),
        Long.parseLong(flags.getOrDefault("-records", "100000")),
        Integer.parseInt(flags.getOrDefault("-size", "1024")),
        Integer.parseInt(flags.getOrDefault("-partitions", "1")),
        Integer.parseInt(flags.getOrDefault("-clients", "1")),
        Duration.parse("PT" + flags.getOrDefault("-longest", "1h")),
        flags.getOrDefault("-stream", "load"),
        flags.getOrDefault("-name", "load"));
  }
}
