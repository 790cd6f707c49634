import com.sun.management.OperatingSystemMXBean;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;

/** What a run costs, from the moment at which this is made. */
final class Meter {
  private static final double TICKS_PER_SECOND = 100;
  private static final int FIELDS_BETWEEN_NAME_AND_UTIME = 11;

  private final long serverPid;
  private final double server;
  private final double client;
  private final long start;

  Meter(Setting setting) throws IOException {
    serverPid = setting.serverPid();
    server = serverSeconds();
    client = clientSeconds();
    start = System.nanoTime();
  }

  Figures stop(long records) throws IOException {
    double seconds = (System.nanoTime() - start) / 1e9;
    return new Figures(records, seconds, clientSeconds() - client, serverSeconds() - server, null);
  }

  private static double clientSeconds() {
    var system = ManagementFactory.getPlatformMXBean(OperatingSystemMXBean.class);
    return system.getProcessCpuTime() / 1e9;
  }

  /** User and system time of the server so far. */
  private double serverSeconds() throws IOException {
    if (serverPid == 0) {
      return 0;
    }
    String stat = Files.readString(Path.of("/proc/" + serverPid + "/stat"));
    // The name of the program stands in brackets and may hold anything.
    String[] fields = stat.substring(stat.lastIndexOf(')') + 1).trim().split(" +");
    long user = Long.parseLong(fields[FIELDS_BETWEEN_NAME_AND_UTIME]);
    long kernel = Long.parseLong(fields[FIELDS_BETWEEN_NAME_AND_UTIME + 1]);
    return (user + kernel) / TICKS_PER_SECOND;
  }
}
