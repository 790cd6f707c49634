//! What the sequencer is asked to do about producers with a name, and how it answers.

use std::convert::Infallible;

use towpath_proto::names::ProducerName;

use super::command::{Answer, fail};
use crate::core::{NamedProducer, OpenProducerRefusal, ProducerLife, ProducerNotFound};

/// A command about producers with a name.
#[derive(Debug)]
pub enum ProducerCommand {
    /// Begin a life, which shuts all older ones of the name out.
    Open {
        /// Of which name.
        name: ProducerName,
        /// Where the answer goes.
        answer: Answer<ProducerLife, OpenProducerRefusal>,
    },
    /// Tell which names there are.
    List {
        /// Only names behind this one.
        after: Option<ProducerName>,
        /// Only names that begin with this.
        prefix: String,
        /// Most names to tell.
        count_max: usize,
        /// Where the answer goes.
        answer: Answer<ProducerPage, Infallible>,
    },
    /// Delete a name, which shuts all its lives out.
    Delete {
        /// Which.
        name: ProducerName,
        /// Only say whether it would be deleted.
        is_dry_run: bool,
        /// Where the answer goes: what it was.
        answer: Answer<NamedProducer, ProducerNotFound>,
    },
}

/// Some of the producers with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerPage {
    /// They, in the order of their names.
    pub producers: Vec<NamedProducer>,
    /// Whether there are more behind them.
    pub has_more: bool,
}

impl ProducerCommand {
    /// Answers that the broker stops, or that the disk failed.
    pub fn fail(self, is_begun: bool) {
        match self {
            Self::Open { answer, .. } => fail(answer, is_begun),
            Self::List { answer, .. } => fail(answer, is_begun),
            Self::Delete { answer, .. } => fail(answer, is_begun),
        }
    }
}
