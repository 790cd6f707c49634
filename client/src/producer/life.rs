//! Lives of named producers, as this client leads them.
//!
//! All producers of a client that have the same name lead one life of it: the broker would take two for
//! rivals. It begins when one of them is used first and is over when the broker says so, or when the
//! last of them is gone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::OnceCell;
use towpath_proto::ids::ProducerId;
use towpath_proto::v1;
use towpath_proto::v1::produce_service_client::ProduceServiceClient;

use crate::Error;
use crate::client::{Repetition, Shared};

/// The lives that producers of one client lead.
#[derive(Debug, Default)]
pub(crate) struct Lives {
    by_name: Mutex<BTreeMap<String, Weak<Life>>>,
}

impl Lives {
    /// The life of a name, or another one where it is over.
    pub(super) fn of(&self, name: &str) -> Arc<Life> {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        by_name.retain(|_, life| life.strong_count() > 0);
        let known = by_name.get(name).and_then(Weak::upgrade);
        if let Some(life) = known.filter(|life| life.check().is_ok()) {
            return life;
        }
        let life = Arc::new(Life {
            name: name.to_owned(),
            begun: OnceCell::new(),
        });
        by_name.insert(name.to_owned(), Arc::downgrade(&life));
        life
    }
}

/// A life of a name, which may have to be begun yet.
#[derive(Debug)]
pub(super) struct Life {
    name: String,
    begun: OnceCell<Arc<BegunLife>>,
}

impl Life {
    /// Whether the broker still takes something of it, as far as is known.
    ///
    /// # Errors
    ///
    /// What it said otherwise.
    pub(super) fn check(&self) -> Result<(), Error> {
        match self.begun.get().and_then(|life| life.fenced.get()) {
            Some(fenced) => Err(fenced.clone()),
            None => Ok(()),
        }
    }

    /// Begins it, which shuts every other life of the name out. Does nothing if it was begun.
    ///
    /// A try whose answer was lost may count as a life of its own, older than this one.
    pub(super) async fn begin(
        &self,
        client: &Shared,
        patience: Duration,
    ) -> Result<Arc<BegunLife>, Error> {
        let begin = || async {
            let request = v1::OpenProducerRequest {
                name: self.name.clone(),
            };
            let call = |channel| {
                let request = request.clone();
                async move {
                    ProduceServiceClient::new(channel)
                        .open_producer(request)
                        .await
                }
            };
            let opened = client.call(patience, Repetition::Harmless, call).await;
            let opened = opened.map_err(|error| error.with("producer", &self.name))?;
            BegunLife::from_proto(&opened).map(Arc::new)
        };
        self.begun.get_or_try_init(begin).await.cloned()
    }
}

/// A life that the broker knows.
#[derive(Debug)]
pub(super) struct BegunLife {
    id: ProducerId,
    pub(super) epoch: u32,
    /// The next number that no identity of this life has.
    next_number: AtomicU32,
    /// Why the broker takes nothing of it any more.
    fenced: OnceLock<Error>,
}

impl BegunLife {
    fn from_proto(opened: &v1::OpenProducerResponse) -> Result<Self, Error> {
        let id = ProducerId::from_slice(&opened.producer_id);
        let id = id.map_err(|_length| Error::protocol("the answer holds no producer id"))?;
        Ok(Self::new(id, opened.producer_epoch))
    }

    pub(super) const fn new(id: ProducerId, epoch: u32) -> Self {
        Self {
            id,
            epoch,
            next_number: AtomicU32::new(0),
            fenced: OnceLock::new(),
        }
    }

    /// An id of this life that nobody else numbers batches under: the last 4 bytes are the client's.
    pub(super) fn next_id(&self) -> ProducerId {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let mut id = *self.id.as_bytes();
        if let Some(own) = id.last_chunk_mut() {
            *own = number.to_le_bytes();
        }
        ProducerId::new(id)
    }

    /// The broker takes nothing of it any more, and why.
    pub(super) fn end(&self, fenced: &Error) {
        self.fenced.get_or_init(|| fenced.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Effects;

    #[test]
    fn ids_of_a_life_differ_in_their_last_bytes() {
        let life = BegunLife::new(ProducerId::new([7; 16]), 3);
        let ids = [life.next_id(), life.next_id()];
        assert_eq!(ids[0].as_bytes()[..12], [7; 12], "the name's");
        assert_eq!(ids[0].as_bytes()[12..], [0; 4], "the first");
        assert_eq!(ids[1].as_bytes()[..12], [7; 12], "the name's");
        assert_eq!(ids[1].as_bytes()[12..], [1, 0, 0, 0], "the second");
    }

    #[test]
    fn producers_of_a_name_share_a_life_until_it_is_over() {
        let lives = Lives::default();
        let first = lives.of("a");
        assert!(Arc::ptr_eq(&first, &lives.of("a")), "shared");
        assert!(!Arc::ptr_eq(&first, &lives.of("b")), "another name");
        let begun = Arc::new(BegunLife::new(ProducerId::new([7; 16]), 1));
        first.begun.set(Arc::clone(&begun)).unwrap();
        assert!(Arc::ptr_eq(&first, &lives.of("a")), "begun");
        begun.end(&Error::closed(Effects::None, "fenced"));
        assert!(first.check().is_err(), "over");
        let second = lives.of("a");
        assert!(!Arc::ptr_eq(&first, &second), "the next one");
        drop((first, second));
        assert_eq!(lives.of("a").begun.get().map(|it| it.epoch), None, "none");
    }
}
