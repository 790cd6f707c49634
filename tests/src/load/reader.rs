//! Those that read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::sync::watch;
use tokio::time::timeout;
use towpath_client::{Client, Offset, PartitionId, Source, Start};

use super::notebook::Notebook;
use super::options::LoadOptions;
use super::session::{Session, Step};
use super::target::Targets;
use crate::history::Place;

/// How far there is to read.
pub(super) type Ends = BTreeMap<Place, u64>;

const MERGED_READER: u64 = 1;
const FIRST_PARTITION_READER: u64 = 2;
/// Numbers of the sessions of one wanderer.
const SESSIONS_MAX: u64 = 1 << 32;
const SESSION_MS_MAX: u64 = 500;

/// What every reader needs.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    pub(super) client: Client,
    pub(super) targets: Arc<Targets>,
    pub(super) notebook: Arc<Notebook>,
    /// Whether readers go on where the broker could not read its disk.
    pub(super) are_readers_undaunted: bool,
}

impl Desk {
    /// Readers of everything, from the beginning.
    pub(super) fn followers(&self, options: &LoadOptions) -> Vec<Session> {
        let mut sessions = Vec::new();
        if options.is_merged {
            let reader = self.client.reader(self.targets.names()).follow().merged();
            let starts = self.targets.places().map(|(_, place)| (place, 0));
            sessions.push(self.session(MERGED_READER, reader.build(), starts).merged());
        }
        if options.is_partitioned {
            let numbers = FIRST_PARTITION_READER..;
            for (number, (target, place)) in numbers.zip(self.targets.places()) {
                let reader = self
                    .client
                    .reader([target.name.to_string()])
                    .partitions([PartitionId::new(place.partition)])
                    .follow();
                sessions.push(self.session(number, reader.build(), [(place, 0)]));
            }
        }
        sessions
    }

    /// A reader of one partition from somewhere that is known to be there.
    fn somewhere(&self, number: u64, random: &mut Rng) -> Session {
        let places: Vec<_> = self.targets.places().collect();
        let (target, place) = places[random.usize(..places.len())];
        let offset = random.u64(..=self.notebook.known_end(place));
        let partition = PartitionId::new(place.partition);
        let start = Start::Offsets(vec![(partition, Offset::new(offset))]);
        let source = Source::new(target.name.to_string())
            .partitions([partition])
            .start(start);
        let reader = self.client.reader([source]).follow().build();
        self.session(number, reader, [(place, offset)])
    }

    pub(super) fn session(
        &self,
        number: u64,
        reader: towpath_client::Reader,
        starts: impl IntoIterator<Item = (Place, u64)>,
    ) -> Session {
        let (targets, notebook) = (Arc::clone(&self.targets), Arc::clone(&self.notebook));
        let session = Session::start(number, reader, targets, notebook, starts);
        match self.are_readers_undaunted {
            true => session.undaunted(self.client.clone()),
            false => session,
        }
    }
}

/// Reads on and on, and ends when the end is known and reached.
pub(super) async fn follow(mut session: Session, mut ends: watch::Receiver<Option<Ends>>) {
    loop {
        let is_done = match &*ends.borrow_and_update() {
            None => false,
            Some(ends) => session
                .next_offsets()
                .iter()
                .all(|(place, next)| ends.get(place).is_none_or(|end| next >= end)),
        };
        if is_done {
            return;
        }
        tokio::select! {
            step = session.step() => if step == Step::End { return },
            changed = ends.changed() => if changed.is_err() { return },
        }
    }
}

/// Reads here for a while, then there, until it is told to stop.
pub(super) async fn wander(desk: Desk, number: u64, seed: u64, mut stop: watch::Receiver<bool>) {
    let mut random = Rng::with_seed(seed.wrapping_mul(37).wrapping_add(number));
    for number in (number + 1) * SESSIONS_MAX.. {
        if *stop.borrow() {
            return;
        }
        let mut session = desk.somewhere(number, &mut random);
        let reading = async { while session.step().await == Step::GoOn {} };
        let duration = Duration::from_millis(random.u64(1..SESSION_MS_MAX));
        tokio::select! {
            // Whether it ends by itself or not, the next one begins.
            _ = timeout(duration, reading) => {}
            _ = stop.changed() => return,
        }
    }
}
