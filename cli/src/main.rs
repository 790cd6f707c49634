//! The `towpath` binary: the broker and everything to use it from a shell.
//!
//! `args` says what can be asked for, `commands` does it through the SDK, `output` prints, `exit`
//! knows the exit codes.
#![deny(unsafe_code)]

mod allocator;
mod args;
mod children;
mod commands;
mod exit;
mod failure;
mod input;
mod interrupt;
mod outcome;
mod output;

use tokio::runtime::Runtime;
use tokio::time::Instant;

fn main() -> exit::Exit {
    let start = Instant::now();
    allocator::give_large_blocks_back();
    let cli = args::parse();
    let output = output::Output::of_process(cli.global.output);
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            let failure = failure::Failure::io("cannot start threads", &error);
            return output.end(Err(failure));
        }
    };
    let outcome = runtime.block_on(commands::run(cli, &output, start));
    // What still hangs, such as a read of a silent terminal, ends with the process.
    runtime.shutdown_background();
    output.end(outcome)
}
