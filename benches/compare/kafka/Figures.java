import java.util.List;
import java.util.Locale;

/** What was measured of one run. */
record Figures(
    long records, double seconds, double clientSeconds, double serverSeconds, List<Long> nanos) {

  Figures withLatencies(List<Long> nanos) {
    return new Figures(
        records, seconds, clientSeconds, serverSeconds, nanos.stream().sorted().toList());
  }

  String json() {
    return String.format(
        Locale.ROOT,
        "{\"records\":%d,\"seconds\":%f,\"client_cpu_seconds\":%f,\"server_cpu_seconds\":%f,\"latency_us\":%s}",
        records,
        seconds,
        clientSeconds,
        serverSeconds,
        latencies());
  }

  private String latencies() {
    if (nanos == null || nanos.isEmpty()) {
      return "null";
    }
    return String.format(
        Locale.ROOT,
        "{\"p50\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f}",
        micros(0.5),
        micros(0.99),
        micros(0.999),
        micros(1));
  }

  private double micros(double quantile) {
    int index = (int) Math.min(quantile * nanos.size(), nanos.size() - 1);
    return nanos.get(index) / 1e3;
  }
}
