//! Calls of a broker, one after the other, with whatever is in them.

mod caller;
mod kept;
mod methods;

use crate::given::Given;
use caller::Caller;
use kept::Kept;
pub(crate) use methods::{METHODS, Method};

/// Most calls of one input.
const CALL_COUNT_MAX: usize = 64;
/// Most messages of one call.
const MESSAGE_COUNT_MAX: u8 = 4;

/// For each call: which, how many messages, and each of them behind its length.
pub fn calls(data: &[u8]) {
    // Whatever an input has left behind when it found something is not used for another one.
    let kept = Kept::take();
    kept.runtime.block_on(serve(&kept, Given::new(data)));
    kept.put_back();
}

async fn serve(kept: &Kept, mut input: Given<'_>) {
    let mut caller = Caller::connect(&kept.broker).await;
    let mut count = 0;
    while !input.is_empty() && count < CALL_COUNT_MAX {
        let method = &METHODS[usize::from(input.u8()) % METHODS.len()];
        let message_count = input.u8() % (MESSAGE_COUNT_MAX + 1);
        let messages: Vec<_> = (0..message_count).map(|_| input.piece()).collect();
        caller.call(method, &messages).await;
        count += 1;
    }
    drop(caller);
    if count > 0 {
        kept.clear().await;
    }
    tokio::select! {
        biased;
        why = kept.broker.failed() => panic!("the broker has failed: {why}"),
        () = std::future::ready(()) => {}
    }
}
