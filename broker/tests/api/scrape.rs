//! Asking the admin listener, and taking a scrape apart by the rules of its format.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{TestBroker, config, soon};
use towpath_broker::Config;

/// Settings of a test that scrapes.
pub(crate) fn scraped_config() -> Config {
    Config {
        admin_listen: Some("127.0.0.1:0".parse().unwrap()),
        ..config()
    }
}

/// What the admin listener answers to a GET.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> std::io::Result<Answer> {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = soon(asked).await?;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).expect("a status");
    Ok(Answer {
        status: status.parse().expect("a number"),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    })
}

/// The series of one scrape.
#[derive(Debug)]
pub(crate) struct Scrape {
    /// Kind and names of the labels, by name of the family.
    pub(crate) families: BTreeMap<String, (String, BTreeSet<String>)>,
    /// The numbers as they were written, by name with labels.
    samples: BTreeMap<String, String>,
}

impl Scrape {
    pub(crate) async fn of(broker: &TestBroker) -> Self {
        let address = broker.broker.admin_addr().expect("an admin listener");
        let answer = get(address, "/metrics").await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.head);
        let content_type = "content-type: text/plain; version=0.0.4; charset=utf-8";
        assert!(answer.head.contains(content_type), "{}", answer.head);
        Self::parse(&answer.body)
    }

    /// Scrapes until it shows what is waited for.
    pub(crate) async fn until(broker: &TestBroker, is_there: impl Fn(&Self) -> bool) -> Self {
        soon(async {
            loop {
                let scrape = Self::of(broker).await;
                if is_there(&scrape) {
                    return scrape;
                }
            }
        })
        .await
    }

    /// Takes the text apart: each family has a help and a kind, then all its series, each once.
    fn parse(text: &str) -> Self {
        let mut scrape = Self {
            families: BTreeMap::new(),
            samples: BTreeMap::new(),
        };
        let mut current = String::new();
        assert!(text.ends_with('\n'), "the last line ends");
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').expect("a help");
                assert!(help.ends_with('.'), "a sentence: {line}");
                name.clone_into(&mut current);
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a kind");
                assert_eq!(name, current, "help and kind stand together");
                let known = (kind.to_owned(), BTreeSet::new());
                let before = scrape.families.insert(name.to_owned(), known);
                assert!(before.is_none(), "{name} comes twice");
            } else {
                scrape.take_sample(&current, line);
            }
        }
        scrape
    }

    fn take_sample(&mut self, family: &str, line: &str) {
        let (series, number) = line.rsplit_once(' ').expect("a number");
        let value: f64 = number.parse().expect("a number");
        assert!(value >= 0.0, "nothing here is negative: {line}");
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.strip_suffix('}').expect("a closing brace");
        let (kind, known) = self.families.get_mut(family).expect("a family");
        let suffix = name.strip_prefix(family).expect("a series of the family");
        match kind.as_str() {
            "histogram" => assert!(["_bucket", "_sum", "_count"].contains(&suffix), "{line}"),
            _ => assert_eq!(suffix, "", "{line}"),
        }
        let names = labels.split(',').filter_map(|label| label.split_once('='));
        known.extend(names.map(|(name, _)| name.to_owned()));
        let before = self.samples.insert(series.to_owned(), number.to_owned());
        assert_eq!(before, None, "{series} comes twice");
    }

    /// The whole number of a series, by name with labels as they are written.
    #[track_caller]
    pub(crate) fn number(&self, series: &str) -> u64 {
        self.text(series).parse().expect("a whole number")
    }

    /// The time of a series.
    #[track_caller]
    pub(crate) fn seconds(&self, series: &str) -> f64 {
        self.text(series).parse().expect("a number")
    }

    #[track_caller]
    fn text(&self, series: &str) -> &str {
        let number = self.samples.get(series);
        number.unwrap_or_else(|| panic!("no {series} in {:#?}", self.samples))
    }

    /// Whether a series is there and has this number.
    pub(crate) fn has(&self, series: &str, number: u64) -> bool {
        let found = self.samples.get(series);
        found.is_some_and(|it| *it == number.to_string())
    }

    /// All series that say something about `what`.
    pub(crate) fn about(&self, what: &str) -> Vec<&str> {
        let series = self.samples.keys().map(String::as_str);
        series.filter(|series| series.contains(what)).collect()
    }
}
