//! Every series that there is. `docs/metrics.md` tells people what they mean; a test compares the two.

/// A family of series: one name, one kind, the same labels.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Names of the labels, in the order in which their values are given.
    pub(super) labels: &'static [&'static str],
    /// For people, in one line without a backslash.
    pub(super) help: &'static str,
}

/// What a number does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only rises, from 0 at the start of the broker.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts between bounds.
    Histogram,
}

impl Kind {
    /// Its name in the text format.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Defines families from one list.
macro_rules! families {
    ($($ident:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub(super) static $ident: Family = Family {
                name: $name,
                kind: Kind::$kind,
                labels: &[$($label),*],
                help: $help,
            };
        )*
    };
}

families! {
    BUILD_INFO = Gauge "towpath_build_info" ["version"] "Always 1; the label says which release runs.";
    READY = Gauge "towpath_ready" [] "1 while /readyz says so, else 0.";
    START_TIME = Gauge "towpath_start_time_seconds" [] "When the broker began to serve, seconds since the Unix epoch.";
    RECOVERY = Gauge "towpath_recovery_seconds" [] "How long the last start took to recover the data folder.";
    SCRAPE_COMPLETE = Gauge "towpath_scrape_complete" [] "1 if this answer tells of every partition of every group and subscription, else 0.";

    APPEND_RECORDS = Counter "towpath_append_records_total" ["topic"] "Records that became durable.";
    APPEND_BYTES = Counter "towpath_append_bytes_total" ["topic"] "Bytes of batches that became durable, as producers sent them.";
    APPEND_DURATION = Histogram "towpath_append_duration_seconds" [] "Time from the admission of a batch to its answer, refusals included.";
    APPEND_IN_FLIGHT_RECORDS = Gauge "towpath_append_in_flight_records" [] "Records of producers that were admitted and not answered.";
    APPEND_IN_FLIGHT_BYTES = Gauge "towpath_append_in_flight_bytes" [] "Memory of batches that were admitted and not answered.";
    APPEND_REFUSALS = Counter "towpath_append_refusals_total" ["reason"] "Batches of Produce streams that were refused.";

    APPEND_LEFT_OUT = Counter "towpath_append_left_out_records_total" ["reason"] "Records that were not written because of what their topic had already.";
    APPEND_MARKED = Counter "towpath_append_marked_records_total" [] "Records that were written with a mark, since their entity had a greater version.";

    APPEND_COMPRESSED_BYTES = Counter "towpath_append_compressed_bytes_total" ["codec"] "Bytes of batches that came compressed.";
    APPEND_DECOMPRESSED_BYTES = Counter "towpath_append_decompressed_bytes_total" ["codec"] "Bytes of the same batches, decompressed to be checked.";

    FSYNC_DURATION = Histogram "towpath_fsync_duration_seconds" [] "Time that one round took to become durable: encoding, writing and syncing.";
    FSYNC_BATCH_RECORDS = Histogram "towpath_fsync_batch_records" [] "Records that one sync made durable, of rounds with records.";

    SCHEDULED_RECORDS = Gauge "towpath_scheduled_records" [] "Records that wait until they are due.";
    SCHEDULED_BYTES = Gauge "towpath_scheduled_bytes" [] "Bytes of records that wait until they are due, and of their ids.";
    SCHEDULED_OVERDUE = Gauge "towpath_scheduled_overdue_seconds" [] "For how long the first scheduled record is due that was not delivered; 0 without one.";
    SCHEDULED_SET_ASIDE = Gauge "towpath_scheduled_set_aside_records" [] "Due records that cannot be read or appended, and are tried again each minute.";
    SCHEDULED_DELIVERED = Counter "towpath_scheduled_delivered_records_total" [] "Scheduled records that were delivered.";

    DELIVER_RECORDS = Counter "towpath_deliver_records_total" ["topic"] "Records handed to readers and members of groups, batches counted whole.";
    DELIVER_BYTES = Counter "towpath_deliver_bytes_total" ["topic"] "Bytes of batches handed to readers and members of groups.";

    DELIVER_DECOMPRESSED_BYTES = Counter "towpath_deliver_decompressed_bytes_total" ["codec"] "Bytes of batches that were decompressed for readers which do not name their codec.";

    GROUP_LAG_RECORDS = Gauge "towpath_group_lag_records" ["group", "topic", "partition"] "Records between the committed offset and the end.";
    GROUP_LAG_SECONDS = Gauge "towpath_group_lag_seconds" ["group", "topic", "partition"] "Age of the next record that the group has not committed; 0 without lag.";
    GROUP_IN_FLIGHT_RECORDS = Gauge "towpath_group_in_flight_records" ["group"] "Records sent to connected members and not committed.";
    GROUP_IN_FLIGHT_BYTES = Gauge "towpath_group_in_flight_bytes" ["group"] "Bytes of batches sent to connected members and not wholly committed.";
    GROUP_MEMBERS = Gauge "towpath_group_members" ["group"] "Members, those that may come back included.";
    GROUP_GENERATION = Gauge "towpath_group_generation" ["group"] "How often partitions of the group have got other owners.";
    GROUP_SKIPPED_RECORDS = Counter "towpath_group_skipped_records_total" ["group", "topic"] "Records that were gone before the group came to them.";

    SUBSCRIPTION_LAG_RECORDS = Gauge "towpath_subscription_lag_records" ["subscription", "topic", "partition"] "Records that are not settled.";
    SUBSCRIPTION_LAG_SECONDS = Gauge "towpath_subscription_lag_seconds" ["subscription", "topic", "partition"] "Age of the first record that is not settled; 0 without lag.";
    SUBSCRIPTION_IN_FLIGHT_RECORDS = Gauge "towpath_subscription_in_flight_records" ["subscription"] "Records that consumers have.";
    SUBSCRIPTION_WAITING_RECORDS = Gauge "towpath_subscription_waiting_records" ["subscription"] "Records that wait for another attempt, or behind one of their key that does.";
    SUBSCRIPTION_PARKED_KEYS = Gauge "towpath_subscription_parked_keys" ["subscription"] "Keys of which something is among the dead letters, so that what comes follows.";
    SUBSCRIPTION_DEAD_LETTERS = Gauge "towpath_subscription_dead_letters" ["subscription"] "Dead letters that are neither handled nor discarded.";
    SUBSCRIPTION_DEAD_LETTER_PROBLEM = Gauge "towpath_subscription_dead_letter_problem" ["subscription"] "1 while something cannot be moved to the dead letters, else 0.";
    SUBSCRIPTION_HALTED_PARTITIONS = Gauge "towpath_subscription_halted_partitions" ["subscription"] "Partitions from which nothing more is delivered, because they cannot be read.";
    SUBSCRIPTION_CONSUMERS = Gauge "towpath_subscription_consumers" ["subscription"] "Consumers, those that are away and have something included.";
    SUBSCRIPTION_HELD_BYTES = Gauge "towpath_subscription_held_bytes" ["subscription"] "Bytes that the topic keeps past its retention because the subscription has not settled them.";
    SUBSCRIPTION_HELD_RATIO = Gauge "towpath_subscription_held_ratio" ["subscription"] "What it holds past retention of what it may, 0 to 1.";
    SUBSCRIPTION_SKIPPED_RECORDS = Counter "towpath_subscription_skipped_records_total" ["subscription"] "Records that were gone before they were settled.";
    SUBSCRIPTION_DELIVERED_RECORDS = Counter "towpath_subscription_delivered_records_total" ["subscription"] "Records handed to consumers, each time that they are.";
    SUBSCRIPTION_ACKED_RECORDS = Counter "towpath_subscription_acked_records_total" ["subscription"] "Records that consumers have handled.";
    SUBSCRIPTION_RETURNED_RECORDS = Counter "towpath_subscription_returned_records_total" ["subscription", "reason"] "Records that came back from consumers, which were not handled.";
    SUBSCRIPTION_FILTERED_RECORDS = Counter "towpath_subscription_filtered_records_total" ["subscription"] "Records that were settled because the filter was not true of them.";
    SUBSCRIPTION_UNJUDGED_RECORDS = Counter "towpath_subscription_unjudged_records_total" ["subscription"] "Records that the filter could not judge.";
    SUBSCRIPTION_DEAD_LETTERED_RECORDS = Counter "towpath_subscription_dead_lettered_records_total" ["subscription", "reason"] "Records that were moved to the dead letters.";
    SUBSCRIPTION_REDRIVEN_RECORDS = Counter "towpath_subscription_redriven_records_total" ["subscription"] "Dead letters that were given back to be delivered again.";
    SUBSCRIPTION_REPUBLISHED_RECORDS = Counter "towpath_subscription_republished_records_total" ["subscription"] "Dead letters that were appended to a topic.";
    SUBSCRIPTION_DISCARDED_RECORDS = Counter "towpath_subscription_discarded_records_total" ["subscription"] "Dead letters that were discarded.";

    LOG_BYTES = Gauge "towpath_log_bytes" ["topic"] "Bytes that the topic keeps.";
    LOG_SEGMENTS = Gauge "towpath_log_segments" ["topic"] "Segments that the topic keeps.";
    LOG_START_OFFSET = Gauge "towpath_log_start_offset" ["topic", "partition"] "Lowest offset that can be read.";
    LOG_END_OFFSET = Gauge "towpath_log_end_offset" ["topic", "partition"] "One past the last record that can be read.";

    DISK_FREE_BYTES = Gauge "towpath_disk_free_bytes" [] "Bytes that the file system of the data folder has left for the broker.";
    DISK_BYTES = Gauge "towpath_disk_bytes" [] "Size of the file system of the data folder.";
    DURABLE_LSN = Gauge "towpath_durable_lsn" [] "Number of the last entry of the journal that is durable.";
    SETTLED_LSN = Gauge "towpath_settled_lsn" [] "Number of the last entry whose records are in their segments.";
    UNSETTLED_BYTES = Gauge "towpath_unsettled_bytes" [] "Memory of records that are durable in the journal and not in their segments yet.";
    JOURNAL_FILES = Gauge "towpath_journal_files" [] "Journal files that no checkpoint has freed yet.";
    INDEX_RUNS = Gauge "towpath_index_runs" [] "Files of index rows.";
    INDEX_ROWS = Gauge "towpath_index_rows" [] "Rows in those files; one that changed counts in each that has it.";
    INDEX_BYTES = Gauge "towpath_index_bytes" [] "Bytes of those files.";
    CHECKPOINTS = Counter "towpath_checkpoints_total" [] "Checkpoints that were written.";
    CHECKPOINT_FAILURES = Counter "towpath_checkpoint_failures_total" [] "Checkpoints that could not be written and are tried again.";
    CHECKPOINT_TIME = Gauge "towpath_checkpoint_last_time_seconds" [] "When the last checkpoint was written, seconds since the Unix epoch.";
    CHECKPOINT_DURATION = Gauge "towpath_checkpoint_last_duration_seconds" [] "How long the last checkpoint took to write; 0 before the first after the start.";
    COMPACTION_REMOVED_RECORDS = Counter "towpath_compaction_removed_records_total" [] "Records that compaction has let go of.";
    COMPACTION_WRITTEN_BYTES = Counter "towpath_compaction_written_bytes_total" [] "Bytes of segments that compaction has written.";
    SCRUB_READ_BYTES = Counter "towpath_scrub_read_bytes_total" [] "Bytes of segments and runs that were read to find damage.";
    SCRUB_DAMAGE = Counter "towpath_scrub_damage_total" [] "Damaged places that were found so.";
    SCRUB_TIME = Gauge "towpath_scrub_last_time_seconds" [] "When everything had been read once, seconds since the Unix epoch; 0 if it was not yet.";

    RPC_REQUESTS = Counter "towpath_rpc_requests_total" ["method", "code"] "Calls and streams that have ended.";
    RPC_DURATION = Histogram "towpath_rpc_duration_seconds" ["method"] "Time that calls took, streams not included.";
    OPEN_STREAMS = Gauge "towpath_open_streams" ["kind"] "Streams that are open.";
    OPEN_CALLS = Gauge "towpath_open_calls" [] "Calls that are open, streams among them.";
    CALLS_REFUSED = Counter "towpath_calls_refused_total" [] "Calls that were refused because too many were open.";
    OPEN_CONNECTIONS = Gauge "towpath_open_connections" [] "Connections of clients that are open.";
    CONNECTIONS = Counter "towpath_connections_total" [] "Connections of clients that were accepted.";
    CONNECTIONS_REFUSED = Counter "towpath_connections_refused_total" ["reason"] "Connections of clients that were not taken.";
    CONNECTIONS_CLOSED = Counter "towpath_connections_closed_total" ["reason"] "Connections of clients that are over.";
    RECEIVING_BYTES = Gauge "towpath_receiving_bytes" [] "Memory of requests that are being received.";
    UNREAD_BYTES = Gauge "towpath_unread_bytes" [] "Memory of what readers were sent and have not taken.";
}
