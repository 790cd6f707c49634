//! The SDK's consumers of groups against a broker in the same process: what they hand out, what they
//! commit, and what becomes of it when members come, go and fail.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod by_hand;
mod harness;
mod odd_cases;
mod side_by_side;
