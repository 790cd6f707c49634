//! Calls by method and status.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prost::Message;
use prost_types::{FileDescriptorSet, MethodDescriptorProto};
use tokio::time::Instant;
use tonic::Code;

use super::Histogram;
use super::histogram::LATENCY_BOUNDS;

/// What clients do: calls and streams.
///
/// The methods are those of the descriptors that the broker serves; all others count as one, so that
/// nobody can make series by calling what there is not.
#[derive(Debug)]
pub(crate) struct RpcMetrics {
    /// By path.
    methods: BTreeMap<String, Arc<MethodMetrics>>,
    other: Arc<MethodMetrics>,
    /// Those that were not let in, as there were too many.
    refused: AtomicU64,
}

/// One method.
#[derive(Debug)]
pub(super) struct MethodMetrics {
    /// Service and method; the method alone for streams in lower case is [`MethodMetrics::kind`].
    pub(super) name: String,
    /// What kind of stream it is; none for a call.
    pub(super) kind: Option<String>,
    /// By number of the code.
    ended: [AtomicU64; CODE_COUNT],
    begun: AtomicU64,
    pub(super) duration: Histogram,
}

/// One call or stream, counted as ended when dropped: as cancelled unless it had a status by then.
#[derive(Debug)]
pub(crate) struct Call {
    method: Arc<MethodMetrics>,
    begun: Instant,
    code: Code,
}

/// Codes of gRPC, by number.
const CODE_NAMES: [&str; CODE_COUNT] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
const CODE_COUNT: usize = 17;
/// What every call of a method that there is not counts as.
const OTHER: &str = "other";

impl RpcMetrics {
    /// Counts calls of the methods of these descriptor sets; one that cannot be read has none.
    pub(crate) fn new(descriptor_sets: &[&[u8]]) -> Self {
        let mut methods = BTreeMap::new();
        for set in descriptor_sets {
            let set = FileDescriptorSet::decode(*set).unwrap_or_default();
            for file in set.file {
                for service in &file.service {
                    let service_name = format!("{}.{}", file.package(), service.name());
                    for method in &service.method {
                        let name = format!("{service_name}/{}", method.name());
                        let path = format!("/{name}");
                        methods.insert(path, Arc::new(MethodMetrics::new(name, method)));
                    }
                }
            }
        }
        let other = MethodDescriptorProto::default();
        Self {
            methods,
            other: Arc::new(MethodMetrics::new(OTHER.to_owned(), &other)),
            refused: AtomicU64::new(0),
        }
    }

    /// Counts a call of the method with this path.
    pub(crate) fn call(&self, path: &str) -> Call {
        let method = Arc::clone(self.methods.get(path).unwrap_or(&self.other));
        method.begun.fetch_add(1, Ordering::Relaxed);
        Call {
            method,
            begun: Instant::now(),
            code: Code::Cancelled,
        }
    }

    /// Counts a call that is refused because too many are open.
    pub(crate) fn note_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// How many were.
    pub(super) fn refused_count(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// How many calls have not ended, streams among them.
    pub(super) fn open_count(&self) -> u64 {
        self.methods().map(MethodMetrics::open_count).sum()
    }

    /// All methods, by name, and what is none.
    pub(super) fn methods(&self) -> impl Iterator<Item = &MethodMetrics> {
        self.methods.values().chain([&self.other]).map(|it| &**it)
    }
}

impl MethodMetrics {
    fn new(name: String, method: &MethodDescriptorProto) -> Self {
        let is_stream = method.client_streaming() || method.server_streaming();
        Self {
            name,
            kind: is_stream.then(|| method.name().to_ascii_lowercase()),
            ended: Default::default(),
            begun: AtomicU64::new(0),
            duration: Histogram::new(LATENCY_BOUNDS),
        }
    }

    /// How many ended with which code. A code that never came is left out, but for OK, so that every
    /// method is there from the start.
    pub(super) fn ended(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let ended = self.ended.iter().map(|it| it.load(Ordering::Relaxed));
        let named = CODE_NAMES.into_iter().zip(ended);
        named
            .enumerate()
            .filter(|(number, (_, count))| *number == 0 || *count > 0)
            .map(|(_, counted)| counted)
    }

    /// How many have not ended.
    pub(super) fn open_count(&self) -> u64 {
        let ended: u64 = self.ended.iter().map(|it| it.load(Ordering::Relaxed)).sum();
        self.begun.load(Ordering::Relaxed).saturating_sub(ended)
    }
}

impl Call {
    /// Notes the status that the client is told, if these headers or trailers have it.
    pub(crate) fn note_status(&mut self, headers: &http::HeaderMap) {
        if let Some(status) = headers.get("grpc-status") {
            self.code = Code::from_bytes(status.as_bytes());
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let ended = self.method.ended.get(self.code as usize);
        if let Some(ended) = ended {
            ended.fetch_add(1, Ordering::Relaxed);
        }
        if self.method.kind.is_none() {
            self.method.duration.observe_time(self.begun.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use towpath_proto::FILE_DESCRIPTOR_SET;

    use super::*;

    const PUBLISH: &str = "/towpath.v1.ProduceService/Publish";

    fn ended(metrics: &RpcMetrics, name: &str) -> Vec<(&'static str, u64)> {
        let method = metrics.methods().find(|it| it.name == name);
        method.expect(name).ended().collect()
    }

    #[test]
    fn the_names_of_codes_are_those_of_grpc() {
        for (number, name) in CODE_NAMES.into_iter().enumerate() {
            let code = Code::from(i32::try_from(number).unwrap());
            let spelled = format!("{code:?}").to_ascii_lowercase();
            assert_eq!(
                name.replace('_', "").to_ascii_lowercase(),
                spelled,
                "{number}"
            );
        }
    }

    #[test]
    fn a_call_counts_with_its_status_and_as_cancelled_without() {
        let metrics = RpcMetrics::new(&[FILE_DESCRIPTOR_SET]);
        let mut call = metrics.call(PUBLISH);
        call.note_status(&http::HeaderMap::new());
        drop(call);
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", http::HeaderValue::from_static("5"));
        let mut call = metrics.call(PUBLISH);
        call.note_status(&trailers);
        drop(call);
        let name = PUBLISH.trim_start_matches('/');
        let expected = [("OK", 0), ("CANCELLED", 1), ("NOT_FOUND", 1)];
        assert_eq!(ended(&metrics, name), expected);
    }

    #[test]
    fn what_there_is_not_is_one_series_whatever_it_is_called() {
        let metrics = RpcMetrics::new(&[FILE_DESCRIPTOR_SET]);
        let count = metrics.methods().count();
        for number in 0..100 {
            drop(metrics.call(&format!("/made.up/{number}")));
        }
        assert_eq!(metrics.methods().count(), count, "methods");
        assert_eq!(ended(&metrics, OTHER), [("OK", 0), ("CANCELLED", 100)]);
    }

    #[test]
    fn streams_are_known_by_their_descriptors() {
        let metrics = RpcMetrics::new(&[FILE_DESCRIPTOR_SET]);
        let kinds: Vec<_> = metrics.methods().filter_map(|it| it.kind.clone()).collect();
        assert_eq!(
            kinds,
            [
                "discarddeadletters",
                "redrivedeadletters",
                "fetch",
                "join",
                "readkey",
                "produce",
                "receive"
            ]
        );
        let stream = metrics.call("/towpath.v1.FetchService/Fetch");
        assert_eq!(metrics.open_count(), 1, "open");
        drop(stream);
        assert_eq!(metrics.open_count(), 0, "ended");
    }
}
