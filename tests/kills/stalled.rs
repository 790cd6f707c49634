//! Readers that never read.

use tokio::runtime::Runtime;
use towpath_client::{Client, NewTopic, PartitionId, Reader, Record};

const TOPIC: &str = "backlog";
/// More than a reader takes in by itself.
const RECORD_COUNT: u32 = 150;
const RECORD_BYTES: usize = 64 * 1024;

/// Open readers whose streams stand still; a runtime keeps their connections alive.
pub(crate) struct Stalled {
    readers: Vec<Reader>,
    client: Client,
    runtime: Runtime,
}

impl Stalled {
    /// Writes what is not going to be read.
    pub(crate) fn new(url: &str) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let client = Client::connect(url).expect("the URL of a broker");
        let writing = async {
            let topic = NewTopic::new(TOPIC).partitions(1);
            client.admin().create_topic(topic).await?;
            let producer = client.producer(TOPIC).build();
            for _ in 0..RECORD_COUNT {
                let record = Record::new(vec![7; RECORD_BYTES]).partition(PartitionId::new(0));
                drop(producer.enqueue(record).await?);
            }
            producer.close().await
        };
        runtime.block_on(writing).expect("a backlog");
        Self {
            readers: Vec::new(),
            client,
            runtime,
        }
    }

    /// Lets go of the readers that there are and opens so many; each takes one record.
    pub(crate) fn open(&mut self, count: usize) {
        self.readers.clear();
        let opening = async {
            for _ in 0..count {
                let mut reader = self.client.reader([TOPIC]).follow().build();
                reader.next_record().await?.expect("a backlog");
                self.readers.push(reader);
            }
            Ok::<_, towpath_client::Error>(())
        };
        self.runtime.block_on(opening).expect("open readers");
    }

    /// Lets go of all readers.
    pub(crate) fn close(&mut self) {
        self.readers.clear();
    }
}
