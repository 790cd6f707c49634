//! Everybody who takes part.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use towpath_client::Client;

use super::LoadOptions;
use super::clerk::Clerk;
use super::notebook::Notebook;
use super::options::PATIENCE;
use super::producer::ProducerActor;
use super::publisher::Publisher;
use super::reader::{Desk, Ends, follow, wander};
use super::target::{Targets, create_topics};

/// Producers and readers, each a task.
#[derive(Debug)]
pub(super) struct Crew {
    pub(super) url: String,
    pub(super) client: Client,
    pub(super) targets: Arc<Targets>,
    pub(super) notebook: Arc<Notebook>,
    are_readers_undaunted: bool,
    pub(super) producers: JoinSet<()>,
    /// Readers without an aim, and the clerk.
    pub(super) wanderers: JoinSet<()>,
    /// Readers of everything.
    pub(super) followers: JoinSet<()>,
    /// Tells all but followers to end.
    pub(super) stop: watch::Sender<bool>,
    /// Tells followers how far there is to read, once nothing is written any more.
    pub(super) ends: watch::Sender<Option<Ends>>,
}

impl Crew {
    pub(super) async fn start(url: &str, options: &LoadOptions) -> Self {
        let client = client(url);
        let targets = create_topics(&client, &options.topics).await;
        let mut crew = Self {
            url: url.to_owned(),
            client,
            targets: Arc::new(targets),
            notebook: Arc::new(Notebook::default()),
            are_readers_undaunted: options.are_readers_undaunted,
            producers: JoinSet::new(),
            wanderers: JoinSet::new(),
            followers: JoinSet::new(),
            stop: watch::Sender::new(false),
            ends: watch::Sender::new(None),
        };
        crew.start_producers(options);
        crew.start_others(options);
        crew
    }

    pub(super) fn desk(&self, client: Client) -> Desk {
        Desk {
            client,
            targets: Arc::clone(&self.targets),
            notebook: Arc::clone(&self.notebook),
            are_readers_undaunted: self.are_readers_undaunted,
        }
    }

    fn start_producers(&mut self, options: &LoadOptions) {
        for number in 0..options.producer_count + options.impatient_producer_count {
            let (client, targets) = (&self.client, &self.targets);
            let notebook = Arc::clone(&self.notebook);
            let actor = ProducerActor::new(number, client, targets, notebook, options);
            self.producers.spawn(actor.run(self.stop.subscribe()));
        }
        if options.has_publisher {
            let (client, targets) = (self.client.clone(), Arc::clone(&self.targets));
            let notebook = Arc::clone(&self.notebook);
            let publisher = Publisher::new(client, targets, notebook, options.seed);
            self.producers.spawn(publisher.run(self.stop.subscribe()));
        }
    }

    fn start_others(&mut self, options: &LoadOptions) {
        let desk = self.desk(self.client.clone());
        for session in desk.followers(options) {
            self.followers.spawn(follow(session, self.ends.subscribe()));
        }
        for number in 0..options.wanderer_count {
            let wander = wander(desk.clone(), number, options.seed, self.stop.subscribe());
            self.wanderers.spawn(wander);
        }
        if options.has_clerk {
            let notebook = Arc::clone(&self.notebook);
            let clerk = Clerk::new(self.client.clone(), notebook, options.seed);
            self.wanderers.spawn(clerk.run(self.stop.subscribe()));
        }
    }
}

/// A client that nobody else uses.
pub(super) fn client(url: &str) -> Client {
    let client = Client::builder().url(url).give_up_after(PATIENCE);
    client.build().expect("the URL of a broker")
}
