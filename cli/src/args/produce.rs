//! `towpath produce`.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use towpath_client::{Compression, Due, Offset, PartitionId, ProducerName, TopicName};

use super::due::DueArgs;
use super::duration::parse_duration;
use super::header::HeaderArg;
use super::number::{parse_offset, parse_partition, parse_version};
use crate::failure::Failure;
use crate::input::{InputForm, JsonPath, KeyRule, RecordShape};

/// Header that ties the events of one business operation together.
const CORRELATION_ID: &str = "ce-correlationid";
/// What to write, and where.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  towpath produce orders hello                          one record; prints its address
  towpath produce orders -k 42 --type order.placed '{\"order\":42}'
  jq -c '.[]' orders.json | towpath produce orders --key-from .order
  towpath produce orders -f orders.ndjson --key-from .order
  towpath produce orders v --source /shop --id 42       once, on a topic with a dedupe window
  towpath produce orders v -p 0 --expect-offset 17      only if it becomes orders/0@17
  towpath produce accounts v -k a --expect-version 3    only as the fourth record of its key
  towpath consume orders -e -o json | towpath produce copy --input json
  relay | towpath produce orders --producer-name relay-1     shuts its predecessor out
  towpath produce orders -f orders.ndjson --compression zstd     smaller on the way and on disk
  towpath produce reminders 'pay!' --delay 24h --schedule-id order-42     delivered in a day
")]
pub(crate) struct ProduceArgs {
    /// Topic
    pub(crate) topic: TopicName,
    /// Value of one record; only without it, or with '-', standard input is read
    value: Option<OsString>,
    /// File to read records from, '-' for standard input
    #[arg(short, long, value_name = "FILE", conflicts_with = "value")]
    file: Option<PathBuf>,
    /// Key, which picks the partition; records of one key keep their order
    #[arg(short, long, value_name = "KEY")]
    key: Option<OsString>,
    /// Field of each value, in JSON, that holds its key
    #[arg(long, value_name = ".FIELD", conflicts_with = "key")]
    key_from: Option<JsonPath>,
    /// Header; may be given more than once
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE")]
    headers: Vec<HeaderArg>,
    /// Type of the event; adds the headers of an event: ce-type, ce-id, ce-source, ce-time
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Id of the event, by which consumers and topics with a dedupe window recognise it (ce-id) [default
    /// with --type: a UUID]
    #[arg(long = "id", value_name = "ID")]
    event_id: Option<String>,
    /// Where the event comes from; none means what the SDK says.
    #[arg(
        long = "source",
        help = "Where the event comes from: its id is unique there (ce-source) [default with --type or --id: \
                TOWPATH_SOURCE, or the name of the program]",
        value_name = "SOURCE"
    )]
    event_source: Option<String>,
    /// Version of the entity that the key names, for topics that compare them (towpath-entity-version)
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = parse_version)]
    entity_version: Option<u64>,
    /// Id that all events of one operation share (ce-correlationid)
    #[arg(long, value_name = "ID")]
    correlation: Option<String>,
    /// What a record is: each line, byte for byte; each line, in JSON as `consume -o json` prints it;
    /// or the whole input
    #[arg(
        long,
        value_enum,
        default_value_t = InputForm::Lines,
        hide_possible_values = true,
        value_name = "lines|json|whole"
    )]
    input: InputForm,
    /// Partition, whatever the key says
    #[arg(short, long, value_name = "N", allow_negative_numbers = true,
          value_parser = parse_partition)]
    partition: Option<u32>,
    /// Name to write under, such as that of a relay: whoever wrote under it before is refused from now on
    #[arg(long, value_name = "NAME")]
    pub(crate) producer_name: Option<ProducerName>,
    /// Write only if the record gets this offset; several lines get it and those that follow, one by one,
    /// up to the first that does not. Needs --partition or --key
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = parse_offset)]
    expect_offset: Option<Offset>,
    /// Write only if the key has this version, 0 for a new key, on a topic with key versions; several
    /// lines need it and those that follow, one by one, up to the first that does not fit. Needs --key
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = parse_version,
          conflicts_with = "expect_offset")]
    expect_version: Option<u64>,
    /// When to deliver, if not at once.
    #[command(flatten)]
    due: DueArgs,
    /// Id to cancel or to move the record by while it is not due; only one of the topic has it at a time
    #[arg(long, value_name = "ID")]
    pub(crate) schedule_id: Option<String>,
    /// How batches are compressed, which consumers need not know: none, lz4, zstd, or zstd:1 to zstd:19
    #[arg(long, value_name = "CODEC", default_value_t)]
    pub(crate) compression: Compression,
    /// How long the outcome of a record is waited for while the broker is out of reach
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub(crate) give_up_after: Duration,
}

/// Where the records come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum InputPlace {
    /// The command line.
    Value(Bytes),
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
}

/// What a record is to rest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expectation {
    /// It gets this offset.
    Offset(Offset),
    /// Its key has this version.
    Version(u64),
}

impl ProduceArgs {
    /// Where the records come from. `is_terminal` tells whether standard input is a terminal, which
    /// is read only on request.
    ///
    /// # Errors
    ///
    /// Nothing says where.
    pub(crate) fn input_place(&self, is_terminal: bool) -> Result<InputPlace, Failure> {
        match (&self.value, &self.file) {
            (Some(value), _) if value == "-" => Ok(InputPlace::Stdin),
            (Some(value), _) => Ok(InputPlace::Value(Bytes::copy_from_slice(value.as_bytes()))),
            (None, Some(file)) if file.as_os_str() == "-" => Ok(InputPlace::Stdin),
            (None, Some(file)) => Ok(InputPlace::File(file.clone())),
            (None, None) if !is_terminal => Ok(InputPlace::Stdin),
            (None, None) => Err(Failure::usage("there is nothing to write")
                .hint("give a VALUE, a file with -f, or '-' to type lines here")),
        }
    }

    /// How the input is cut into records.
    pub(crate) const fn input_form(&self) -> InputForm {
        self.input
    }

    /// Whether the input is one record, whose address is printed.
    pub(crate) fn is_single(&self, place: &InputPlace) -> bool {
        self.input == InputForm::Whole || matches!(place, InputPlace::Value(_))
    }

    /// When the records are due; none for at once.
    pub(crate) fn due(&self) -> Option<Due> {
        self.due.due()
    }

    /// What every record has besides its value.
    ///
    /// # Errors
    ///
    /// The flags do not go together.
    pub(crate) fn shape(&self, place: &InputPlace) -> Result<RecordShape, Failure> {
        self.check(place)?;
        let key = match (&self.key, &self.key_from) {
            (Some(key), _) => KeyRule::Fixed(key.clone().into_vec().into()),
            (None, Some(path)) => KeyRule::Field(path.clone()),
            (None, None) => KeyRule::None,
        };
        let given = self
            .headers
            .iter()
            .map(|it| (it.name.as_str(), it.value.as_str()));
        let correlation = self.correlation.as_deref();
        let own = correlation.map(|value| (CORRELATION_ID, value));
        Ok(RecordShape {
            form: self.input,
            key,
            headers: own
                .into_iter()
                .chain(given)
                .map(|(name, value)| (name.to_owned(), Bytes::copy_from_slice(value.as_bytes())))
                .collect(),
            event_type: self.event_type.clone(),
            event_id: self.event_id.clone(),
            event_source: self.event_source.clone(),
            entity_version: self.entity_version,
            partition: self.partition.map(PartitionId::new),
        })
    }

    /// What the first record is to rest on.
    pub(crate) fn expectation(&self) -> Option<Expectation> {
        let offset = self.expect_offset.map(Expectation::Offset);
        offset.or_else(|| self.expect_version.map(Expectation::Version))
    }

    fn check(&self, place: &InputPlace) -> Result<(), Failure> {
        let has_own = [
            ("--key", self.key.is_some()),
            ("--key-from", self.key_from.is_some()),
            ("--header", !self.headers.is_empty()),
            ("--type", self.event_type.is_some()),
            ("--id", self.event_id.is_some()),
            ("--source", self.event_source.is_some()),
            ("--entity-version", self.entity_version.is_some()),
            ("--correlation", self.correlation.is_some()),
        ];
        if let Some((flag, _)) = has_own.iter().find(|(_, is_given)| *is_given)
            && self.input == InputForm::Json
        {
            let message = format!("{flag} does not go with --input json");
            return Err(Failure::usage(message).hint("records in JSON say it themselves"));
        }
        if self.expect_offset.is_some() && self.partition.is_none() && self.key.is_none() {
            return Err(Failure::usage("--expect-offset needs --partition or --key")
                .hint("an offset belongs to a partition"));
        }
        self.check_schedule(place)?;
        if self.expect_version.is_some() && self.key.is_none() {
            return Err(
                Failure::usage("--expect-version needs --key").hint("a version belongs to a key")
            );
        }
        let of_one = [
            ("--id", self.event_id.is_some()),
            ("--entity-version", self.entity_version.is_some()),
        ];
        if let Some((flag, _)) = of_one.iter().find(|(_, is_given)| *is_given)
            && !self.is_single(place)
        {
            let message = format!("{flag} is for one record, not for a file of them");
            return Err(
                Failure::usage(message).hint("with --input json each line has headers of its own")
            );
        }
        Ok(())
    }
}

impl ProduceArgs {
    /// A scheduled record is written by nobody in particular, and where is not known yet.
    fn check_schedule(&self, place: &InputPlace) -> Result<(), Failure> {
        if self.due().is_none() {
            return match self.schedule_id {
                Some(_) => Err(Failure::usage("--schedule-id needs --delay or --at")),
                None => Ok(()),
            };
        }
        let has_own = [
            ("--producer-name", self.producer_name.is_some()),
            ("--expect-offset", self.expect_offset.is_some()),
            ("--expect-version", self.expect_version.is_some()),
        ];
        if let Some((flag, _)) = has_own.iter().find(|(_, is_given)| *is_given) {
            let message = format!("{flag} does not go with --delay or --at");
            return Err(Failure::usage(message));
        }
        if self.schedule_id.is_some() && !self.is_single(place) {
            let message = "--schedule-id is for one record, not for a file of them";
            return Err(Failure::usage(message));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: ProduceArgs,
    }

    fn args(line: &str) -> ProduceArgs {
        let words = std::iter::once("produce").chain(line.split(' '));
        Line::try_parse_from(words).expect(line).args
    }

    fn place(line: &str, is_terminal: bool) -> Result<InputPlace, String> {
        let place = args(line).input_place(is_terminal);
        place.map_err(|failure| failure.message().to_owned())
    }

    #[test]
    fn standard_input_is_read_only_without_a_value_and_a_terminal_or_on_request() {
        let value = Ok(InputPlace::Value(Bytes::from_static(b"v")));
        assert_eq!(place("t v", true), value, "a value");
        assert_eq!(place("t v", false), value, "a value in a pipe");
        assert_eq!(
            place("t", false),
            Ok(InputPlace::Stdin),
            "nothing, in a pipe"
        );
        assert!(place("t", true).is_err(), "nothing, on a terminal");
        assert_eq!(place("t -", true), Ok(InputPlace::Stdin), "on request");
        assert_eq!(place("t -f -", true), Ok(InputPlace::Stdin), "on request");
        assert_eq!(
            place("t -f x", false),
            Ok(InputPlace::File("x".into())),
            "a file"
        );
    }

    #[test]
    fn ids_of_operations_become_headers_and_those_of_events_their_names() {
        let shape = |line: &str| {
            let args = args(line);
            let place = args.input_place(true).expect(line);
            args.shape(&place).expect(line)
        };
        let names = |shape: &RecordShape| -> Vec<String> {
            shape.headers.iter().map(|(name, _)| name.clone()).collect()
        };
        let plain = shape("t v --id 1 --correlation 2 -H a=b -H a=c");
        assert_eq!(names(&plain), ["ce-correlationid", "a", "a"], "headers");
        assert_eq!(plain.event_id.as_deref(), Some("1"), "id");
        let event = shape("t v --id 1 --type x");
        assert_eq!(
            (names(&event).len(), event.event_id.as_deref()),
            (0, Some("1")),
            "event"
        );
    }

    #[test]
    fn flags_that_contradict_each_other_are_refused() {
        let refused = |line: &str| {
            let args = args(line);
            let place = args.input_place(false).expect(line);
            let failure = args.shape(&place).expect_err(line);
            assert_eq!(failure.exit(), crate::exit::Exit::Usage, "{line}");
        };
        refused("t -k a --input json");
        refused("t --key-from .a --input json");
        refused("t -H a=b --input json");
        refused("t --type x --input json");
        refused("t --id 1");
        refused("t -f x --id 1");
        refused("t -f x --entity-version 1");
        refused("t --source /s --input json");
        refused("t v --expect-version 7");
        refused("t v -p 0 --expect-version 7");
        refused("t v --expect-offset 7");
        refused("t --key-from .a --expect-offset 7");
        refused("t v --schedule-id a");
        refused("t -f x --delay 1m --schedule-id a");
        refused("t v --delay 1m --producer-name a");
        refused("t v -p 0 --delay 1m --expect-offset 7");
        for line in [
            "t v -f x",
            "t -k a --key-from .b",
            "t v --input csv",
            "t v -p x",
            "t v -p 0 --expect-offset -1",
            "t v -k a --expect-version -1",
            "t v -k a --expect-version 0 --expect-offset 0",
            "t v -k a --entity-version x",
        ] {
            let words = std::iter::once("produce").chain(line.split(' '));
            assert!(Line::try_parse_from(words).is_err(), "{line} was accepted");
        }
    }
}
