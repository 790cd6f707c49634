//! Everybody who works, and who replaces whom.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use towpath_client::{Admin, Client, Error, NewSubscription, NewTopic, Start};

use super::notes::{Lane, Notes, Observer};
use super::schedules::Schedules;
use super::{clerk, handlers, latest, readers, schedules, writers};

const PARTITIONS: u32 = 4;
/// What each of the large topics keeps.
const RETENTION_BYTES: u64 = 32 << 20;
const DEDUPE_WINDOW: Duration = Duration::from_secs(60);
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(200));
/// Only what a commit lost to a consumer that is gone counts; it must never die.
const WORKER_ATTEMPTS_MAX: u32 = 1_000;
const LOOK: Duration = Duration::from_millis(200);

/// Told when it is time to come to an end. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(super) fn is_told(&self) -> bool {
        // ORDERING: nothing else depends on it.
        self.0.load(Ordering::Relaxed)
    }

    fn tell(&self) {
        // ORDERING: as above.
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Clients that are killed now and then, and replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Writer(Lane),
    Member,
    Consumer,
    Worker,
    DiskReader,
}

const ROLES: [Role; 11] = [
    Role::Writer(Lane::Plain),
    Role::Writer(Lane::Lz4),
    Role::Writer(Lane::Zstd),
    Role::Member,
    Role::Member,
    Role::Member,
    Role::Consumer,
    Role::Consumer,
    Role::Worker,
    Role::Worker,
    Role::DiskReader,
];
/// How many of them can be killed.
pub(super) const KILLABLE_COUNT: usize = ROLES.len();

type Task = JoinHandle<Result<(), Error>>;

/// Everybody.
#[derive(Debug)]
pub(super) struct Crew {
    url: String,
    lane_rate: u64,
    notes: Notes,
    schedules: Schedules,
    stop: Stop,
    /// By their places in [`ROLES`].
    killable: Vec<Task>,
    /// Those who end when they are told to, and those who go on until all is seen.
    ending: Vec<Task>,
    lasting: Vec<Task>,
    next_life: u64,
}

impl Crew {
    /// Makes the topics, and sets everybody to work.
    pub(super) async fn start(url: &str, rate: u64, notes: &Notes) -> Self {
        let mut crew = Self {
            url: url.to_owned(),
            lane_rate: rate / Lane::ALL.len() as u64,
            notes: notes.clone(),
            schedules: Schedules::default(),
            stop: Stop::default(),
            killable: Vec::new(),
            ending: Vec::new(),
            lasting: Vec::new(),
            next_life: 0,
        };
        let made = make_topics(&crew.client().admin()).await;
        made.expect("topics and subscriptions");
        for role in ROLES {
            let task = crew.spawn(role);
            crew.killable.push(task);
        }
        crew.start_others();
        crew
    }

    /// Kills one of the clients in the middle of its work, and has another one take its place.
    pub(super) fn replace(&mut self, number: usize) {
        let next = self.spawn(ROLES[number]);
        std::mem::replace(&mut self.killable[number], next).abort();
        self.notes.note_other("clients killed");
    }

    /// Nobody ends by himself.
    pub(super) fn check(&self) {
        let all = [&self.killable, &self.ending, &self.lasting];
        if all.into_iter().flatten().any(JoinHandle::is_finished) {
            self.notes.complain("somebody has ended by himself");
        }
    }

    /// Lets everything come to an end, and complains of what does not.
    pub(super) async fn end(&mut self, patience: Duration) {
        self.stop.tell();
        let mut killable = std::mem::take(&mut self.killable);
        let others = killable.split_off(Lane::ALL.len());
        for task in killable.into_iter().chain(std::mem::take(&mut self.ending)) {
            match timeout(patience, task).await {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(error))) => self.complain_of(&error),
                Ok(Err(panicked)) => self.notes.complain(panicked),
                Err(_elapsed) => self.notes.complain("somebody does not come to an end"),
            }
        }
        self.killable = others;
        let begun = Instant::now();
        loop {
            let missing = match self.schedules.missing_count() {
                0 => self.notes.unsettled(),
                count => Some(format!("{count} scheduled records have not come")),
            };
            let Some(missing) = missing else {
                break;
            };
            if begun.elapsed() > patience {
                self.notes.complain(missing);
                break;
            }
            sleep(LOOK).await;
        }
        let lasting = std::mem::take(&mut self.lasting);
        for task in lasting
            .into_iter()
            .chain(std::mem::take(&mut self.killable))
        {
            if !task.is_finished() {
                task.abort();
                continue;
            }
            match task.await {
                Ok(Ok(())) => self.notes.complain("somebody has ended by himself"),
                Ok(Err(error)) => self.complain_of(&error),
                Err(panicked) => self.notes.complain(panicked),
            }
        }
    }

    fn complain_of(&self, error: &Error) {
        self.notes.complain(format_args!("{error:#} {error:?}"));
    }

    fn spawn(&mut self, role: Role) -> Task {
        let (client, notes) = (self.client(), self.notes.clone());
        match role {
            Role::Writer(lane) => {
                self.next_life += 1;
                let (life, rate, stop) = (self.next_life, self.lane_rate, self.stop.clone());
                tokio::spawn(writers::write(client, (lane, life), rate, notes, stop))
            }
            Role::Member => tokio::spawn(handlers::be_member(client, notes)),
            Role::Consumer => tokio::spawn(handlers::consume(client, notes)),
            Role::Worker => tokio::spawn(handlers::work(client)),
            Role::DiskReader => tokio::spawn(readers::read_again(client, notes)),
        }
    }

    fn start_others(&mut self) {
        let notes = || self.notes.clone();
        let followed = Lane::ALL.map(|lane| (lane.topic(), Observer::Tail));
        let results = (readers::RESULTS, Observer::Results);
        for (topic, observer) in followed.into_iter().chain([results]) {
            let following = readers::follow(self.client(), topic, observer, notes());
            self.lasting.push(tokio::spawn(following));
        }
        let (states, stop) = (latest::Latest::default(), || self.stop.clone());
        let due = || self.schedules.clone();
        let admin = self.client().admin();
        let ending = [
            tokio::spawn(latest::write(self.client(), states.clone(), stop())),
            tokio::spawn(schedules::schedule(self.client(), due(), notes(), stop())),
            tokio::spawn(clerk::keep_house(self.client(), notes(), stop())),
        ];
        let lasting = [
            tokio::spawn(latest::read(self.client(), states, notes())),
            tokio::spawn(schedules::read(self.client(), due(), notes())),
            tokio::spawn(handlers::redrive(admin)),
        ];
        self.ending.extend(ending);
        self.lasting.extend(lasting);
    }

    fn client(&self) -> Client {
        Client::connect(&self.url).expect("the URL of a broker")
    }
}

async fn make_topics(admin: &Admin) -> Result<(), Error> {
    for lane in Lane::ALL {
        let topic = NewTopic::new(lane.topic()).partitions(PARTITIONS);
        let topic = topic.retention_bytes(RETENTION_BYTES);
        let topic = match lane {
            Lane::Lz4 => topic.dedupe_window(DEDUPE_WINDOW),
            Lane::Plain | Lane::Zstd => topic,
        };
        admin.create_topic(topic).await?;
    }
    for name in [readers::RESULTS, schedules::TOPIC] {
        let topic = NewTopic::new(name).partitions(PARTITIONS);
        admin
            .create_topic(topic.retention_bytes(RETENTION_BYTES))
            .await?;
    }
    let compacted = NewTopic::new(latest::TOPIC)
        .partitions(PARTITIONS)
        .compact();
    admin.create_topic(compacted).await?;
    let attempts = [
        (handlers::SUBSCRIPTION, handlers::ATTEMPTS_MAX),
        (handlers::WORKERS, WORKER_ATTEMPTS_MAX),
    ];
    for (name, attempts_max) in attempts {
        let subscription = NewSubscription::new(name, Lane::Zstd.topic(), Start::Beginning);
        let subscription = subscription.attempts_max(attempts_max);
        let subscription = subscription.backoff(BACKOFF.0, BACKOFF.1);
        admin.create_subscription(subscription).await?;
    }
    Ok(())
}
