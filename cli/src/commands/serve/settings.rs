//! Every setting of a broker by the name of its flag.

use towpath_broker::Config;

/// All settings and their values, in the order of the help.
pub(super) fn settings(config: &Config) -> [(&'static str, String); 11] {
    let (limits, engine) = (&config.limits, &config.engine);
    [
        ("data-dir", config.data_dir.display().to_string()),
        ("listen", config.listen.to_string()),
        (
            "insecure-allow-remote",
            config.insecure_allow_remote.to_string(),
        ),
        (
            "drain-deadline",
            format!("{}ms", config.drain_deadline.as_millis()),
        ),
        (
            "heartbeat-interval",
            format!("{}ms", config.heartbeat_interval.as_millis()),
        ),
        (
            "connection-count-max",
            limits.connection_count_max.to_string(),
        ),
        ("stream-count-max", limits.stream_count_max.to_string()),
        (
            "in-flight-bytes-max",
            limits.in_flight_bytes_max.to_string(),
        ),
        (
            "in-flight-bytes-per-stream-max",
            limits.in_flight_bytes_per_stream_max.to_string(),
        ),
        (
            "segment-bytes-max",
            engine.core.segment_bytes_max.to_string(),
        ),
        (
            "round-bytes-max",
            engine.sequencer.round_bytes_max.to_string(),
        ),
    ]
}

/// The settings whose values differ from the defaults.
pub(super) fn changed_settings(config: &Config) -> impl Iterator<Item = (&'static str, String)> {
    let defaults = settings(&Config::default());
    let pairs = settings(config).into_iter().zip(defaults);
    pairs
        .filter(|(now, default)| now != default)
        .map(|(now, _)| now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_from_the_default_is_told() {
        assert_eq!(changed_settings(&Config::default()).count(), 0, "defaults");
        let config = Config {
            data_dir: "/elsewhere".into(),
            ..Config::default()
        };
        let changed: Vec<_> = changed_settings(&config).collect();
        assert_eq!(changed, [("data-dir", "/elsewhere".to_owned())], "changed");
    }
}
