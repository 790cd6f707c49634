//! How a load ends: everything is settled, read to the end, and judged.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use towpath_client::{Client, Error};

use super::Verdict;
use super::crew::{Crew, client};
use super::notebook::Notebook;
use super::reader::Ends;
use super::session::Step;
use super::target::Targets;
use crate::history::{Event, FINAL_READER, Place};

/// Longest time until records are settled that were sent, once the broker lives.
const SETTLE_PATIENCE: Duration = Duration::from_secs(60);
/// Longest time until readers have come to the end, and until everything was read once more.
const READ_PATIENCE: Duration = Duration::from_secs(60);

/// Where a partition begins and ends.
struct Bounds {
    place: Place,
    log_start: u64,
    end: u64,
}

impl Crew {
    /// Lets everything come to an end and judges.
    pub(super) async fn end(&mut self) -> Verdict {
        let notebook = &self.notebook;
        self.stop.send_replace(true);
        join(&mut self.producers, SETTLE_PATIENCE, "producers", notebook).await;
        join(&mut self.wanderers, READ_PATIENCE, "wanderers", notebook).await;
        match bounds(&self.client, &self.targets).await {
            Ok(bounds) => self.read_to_the_end(&bounds).await,
            Err(error) => notebook.complain(format!("no bounds: {error}")),
        }
        self.notebook.judge()
    }

    async fn read_to_the_end(&mut self, bounds: &[Bounds]) {
        let ends: Ends = bounds.iter().map(|it| (it.place, it.end)).collect();
        self.ends.send_replace(Some(ends));
        let notebook = &self.notebook;
        join(&mut self.followers, READ_PATIENCE, "followers", notebook).await;
        // Nothing that the others have found out helps the last reader.
        let desk = self.desk(client(&self.url));
        let reader = desk.client.reader(self.targets.names()).build();
        let starts = bounds.iter().map(|it| (it.place, it.log_start));
        let mut session = desk.session(FINAL_READER, reader, starts);
        let reading = async { while session.step().await == Step::GoOn {} };
        if timeout(READ_PATIENCE, reading).await.is_err() {
            notebook.complain("the last reader does not end".to_owned());
        }
        for it in bounds {
            notebook.note(Event::Final {
                place: it.place,
                log_start: it.log_start,
                end: it.end,
            });
        }
    }
}

/// Waits until all have ended, and complains of those that do not in time.
async fn join(tasks: &mut JoinSet<()>, patience: Duration, who: &str, notebook: &Notebook) {
    let joining = async {
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                notebook.complain(format!("one of the {who} fails: {error}"));
            }
        }
    };
    if timeout(patience, joining).await.is_err() {
        let count = tasks.len();
        notebook.complain(format!("{count} {who} have not ended after {patience:?}"));
    }
}

async fn bounds(client: &Client, targets: &Targets) -> Result<Vec<Bounds>, Error> {
    let mut bounds = Vec::new();
    for target in &targets.0 {
        let topic = client.admin().topic(target.name.as_str()).await?;
        bounds.extend(topic.partitions.iter().map(|partition| Bounds {
            place: target.place(partition.partition),
            log_start: partition.log_start_offset.get(),
            end: partition.end_offset.get(),
        }));
    }
    Ok(bounds)
}
