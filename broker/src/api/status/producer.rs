//! The same for producers with a name.

use towpath_proto::names::ProducerName;
use towpath_proto::problem::Problem;
use towpath_proto::reason::ErrorReason;

use super::{limit_reached, nearest};
use crate::core::{NamedProducer, OpenProducerRefusal, ProducerFenced};

/// This life of a producer may not write any more.
pub(in crate::api) fn producer_fenced(fenced: ProducerFenced) -> Problem {
    let problem = Problem::new(ErrorReason::ProducerFenced, fenced.to_string());
    match fenced {
        ProducerFenced::ByLife { name, epoch } => problem
            .with("producer", name)
            .with("producer_epoch", epoch)
            .with_hint("stop this one: another program, or a later start of it, has the name"),
        ProducerFenced::ByDeletion => {
            problem.with_hint("open the name again to begin as one of whom nothing is known")
        }
    }
}

/// Why a life of a producer was not begun.
pub(in crate::api) fn open_producer_refused(refusal: OpenProducerRefusal) -> Problem {
    let text = refusal.to_string();
    match refusal {
        OpenProducerRefusal::TooManyNames { count } => {
            limit_reached(text, "producer_names_max", count)
                .with_hint("delete names that nobody uses (DeleteProducer)")
        }
    }
}

/// There is no producer of that name; tells the one among these that was probably meant.
pub(in crate::api) fn producer_not_among(name: &ProducerName, all: &[NamedProducer]) -> Problem {
    let problem = Problem::new(
        ErrorReason::ProducerNotFound,
        format!("producer \"{name}\" not found"),
    )
    .with("producer", name);
    let names = all.iter().map(|producer| producer.name().as_str());
    match nearest(name.as_str(), names) {
        Some(meant) => problem.with_hint(format!("did you mean \"{meant}\"?")),
        None => problem,
    }
}
