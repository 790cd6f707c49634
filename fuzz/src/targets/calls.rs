//! Calls of a broker, one after the other, with whatever is in them.

mod caller;
mod methods;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime;
use towpath_broker::{Broker, Config};
use towpath_storage::vfs::sim::{SimDisk, SimOptions, Trace};
use towpath_storage::{Environment, SimClock, SimEntropy};

use crate::given::Given;
use caller::Caller;
pub(crate) use methods::{METHODS, Method};

/// Most calls of one broker.
const CALL_COUNT_MAX: usize = 64;
/// Most messages of one call.
const MESSAGE_COUNT_MAX: u8 = 4;
/// Broker time at the start.
const START_MS: i64 = 1_700_000_000_000;

/// For each call: which, how many messages, and each of them behind its length.
pub(super) fn calls(data: &[u8]) {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    runtime
        .expect("a runtime")
        .block_on(serve(Given::new(data)));
}

async fn serve(mut input: Given<'_>) {
    let broker = Broker::start_in(config(), environment())
        .await
        .expect("a broker");
    let mut caller = Caller::connect(&broker).await;
    let mut count = 0;
    while !input.is_empty() && count < CALL_COUNT_MAX {
        let method = &METHODS[usize::from(input.u8()) % METHODS.len()];
        let message_count = input.u8() % (MESSAGE_COUNT_MAX + 1);
        let messages: Vec<_> = (0..message_count).map(|_| input.piece()).collect();
        caller.call(method, &messages).await;
        count += 1;
    }
    caller
        .call(&Method::unary("AdminService/GetServerInfo"), &[b""])
        .await;
    tokio::select! {
        biased;
        why = broker.failed() => panic!("the broker has failed: {why}"),
        () = std::future::ready(()) => {}
    }
    broker.shutdown().await;
}

fn config() -> Config {
    let mut config = Config {
        listen: None,
        data_dir: PathBuf::from("fuzz"),
        drain_deadline: Duration::ZERO,
        ..Config::default()
    };
    config.engine.storage.journal_file_bytes = Some(1024 * 1024);
    config
}

fn environment() -> Environment {
    let disk = SimDisk::new(SimOptions {
        trace: Trace::Off,
        ..SimOptions::default()
    });
    Environment {
        vfs: disk.vfs(),
        clock: Arc::new(SimClock::new(START_MS)),
        entropy: Arc::new(SimEntropy::new(1)),
    }
}
