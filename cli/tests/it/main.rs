//! The binary as a user runs it: a process with arguments, streams and an exit code, against a broker
//! in this process or, where the broker itself is the subject, in one of its own.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so by a panic, also in the functions it shares"
)]

mod bad_input;
mod bench;
mod commit;
mod consume;
mod consume_subscription;
mod dead_letter_topic;
mod demo;
mod dlq;
mod exact_writes;
mod exec;
mod group;
mod harness;
mod help;
mod json;
mod manual;
mod produce;
mod producer;
mod running;
mod scheduled;
mod serve;
mod serve_process;
mod storage;
mod subscription;
mod terminal;
mod topic;
mod topic_change;
mod topic_compact;
