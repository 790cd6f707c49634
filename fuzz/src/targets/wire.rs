//! The messages that carry batches, in both views.

use prost::Message;
use towpath_proto::{v1, wire};

use crate::given::Given;

/// Which message, then its bytes.
pub fn wire(data: &[u8]) {
    let mut input = Given::new(data);
    let choice = input.u8();
    let bytes = input.rest();
    match choice % 7 {
        0 => both::<v1::ProduceRequest, wire::ProduceRequest>(bytes, repeats_batch),
        1 => both::<v1::PublishRequest, wire::PublishRequest>(bytes, |_| false),
        2 => both::<v1::CommitRequest, wire::CommitRequest>(bytes, |_| false),
        3 => both::<v1::FetchResponse, wire::FetchResponse>(bytes, repeats_fetched),
        4 => both::<v1::JoinResponse, wire::JoinResponse>(bytes, |_| true),
        5 => both::<v1::ReceiveResponse, wire::ReceiveResponse>(bytes, |_| true),
        _ => both::<v1::PullResponse, wire::PullResponse>(bytes, |_| true),
    }
}

/// Two views of a message, of which the second leaves records as bytes. `is_vague` says of a message that
/// it holds more than the second view keeps.
fn both<T, W>(bytes: &[u8], is_vague: impl Fn(&W) -> bool)
where
    T: Message + Default,
    W: Message + Default + PartialEq + std::fmt::Debug,
{
    let (opaque, typed) = (W::decode(bytes), T::decode(bytes));
    let Ok(opaque) = opaque else {
        assert!(typed.is_err(), "who looks less refuses no more");
        return;
    };
    let encoded = opaque.encode_to_vec();
    assert_eq!(encoded.len(), opaque.encoded_len(), "length");
    if !is_vague(&opaque) {
        assert_eq!(W::decode(&encoded[..]).as_ref(), Ok(&opaque), "round trip");
    }
    let Ok(typed) = typed else { return };
    let canonical = through_typed::<T, W>(&typed.encode_to_vec());
    let again = through_typed::<T, W>(&canonical.encode_to_vec());
    assert_eq!(again, canonical, "what a typed client means");
    if !is_vague(&opaque) {
        assert_eq!(
            through_typed::<T, W>(&encoded),
            canonical,
            "both mean the same"
        );
    }
}

/// Decoded and encoded with one view, then decoded with the other.
fn through_typed<T: Message + Default, W: Message + Default>(bytes: &[u8]) -> W {
    let typed = T::decode(bytes).expect("the typed view reads what was written");
    W::decode(&typed.encode_to_vec()[..]).expect("the other view reads it as well")
}

fn repeats_batch(request: &wire::ProduceRequest) -> bool {
    use wire::produce_request::Request;
    match &request.request {
        Some(Request::Produce(batch)) => {
            if let Err(fault) = batch.encoded() {
                assert!(!fault.field().is_empty(), "a fault has a field");
            }
            batch.is_batch_repeated
        }
        _ => false,
    }
}

fn repeats_fetched(response: &wire::FetchResponse) -> bool {
    use wire::fetch_response::Response;
    match &response.response {
        Some(Response::Batch(batch)) => batch.is_batch_repeated,
        _ => false,
    }
}
