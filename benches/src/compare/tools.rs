//! Programs that are built or downloaded: by Go and by Maven, from where their own settings say.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use tokio::process::Command;
use tokio::sync::OnceCell;

use super::process::output;
use crate::{Error, Result};

/// A folder of programs, each made when it is first asked for.
#[derive(Debug)]
pub(crate) struct Tools {
    /// Where the sources lie.
    sources: PathBuf,
    dir: PathBuf,
    go: OnceCell<()>,
}

impl Tools {
    /// Programs are made in `dir`, which is made if it is missing.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be made.
    pub(crate) fn new(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).map_err(Error::io("make the folder of tools"))?;
        let dir = fs::canonicalize(dir).map_err(Error::io("find the folder of tools"))?;
        Ok(Self {
            sources: Path::new(env!("CARGO_MANIFEST_DIR")).join("compare"),
            dir,
            go: OnceCell::new(),
        })
    }

    /// The load program for NATS and Redis.
    ///
    /// # Errors
    /// [`Error::Void`] when Go is missing or cannot build it.
    pub(crate) async fn load(&self) -> Result<PathBuf> {
        self.go.get_or_try_init(|| self.build_go()).await?;
        Ok(self.dir.join("load"))
    }

    /// The server of NATS.
    ///
    /// # Errors
    /// As [`Tools::load`].
    pub(crate) async fn nats_server(&self) -> Result<PathBuf> {
        self.go.get_or_try_init(|| self.build_go()).await?;
        Ok(self.dir.join("nats-server"))
    }

    async fn build_go(&self) -> Result<()> {
        for (name, package) in [
            ("load", "."),
            ("nats-server", "github.com/nats-io/nats-server/v2"),
        ] {
            let mut build = Command::new("go");
            build.current_dir(self.sources.join("load"));
            output(
                build
                    .args(["build", "-o"])
                    .arg(self.dir.join(name))
                    .arg(package),
            )
            .await?;
        }
        Ok(())
    }

    /// Kafka and the load program for it.
    ///
    /// # Errors
    /// [`Error::Void`] when Java or Maven are missing or fail.
    pub(crate) async fn kafka(&self) -> Result<Kafka> {
        let sources = self.sources.join("kafka");
        let (jars, classes) = (self.dir.join("kafka"), self.dir.join("kafka-load"));
        let mut maven = Command::new("mvn");
        maven.args(["-q", "-B", "-f"]).arg(sources.join("pom.xml"));
        output(
            maven
                .arg("dependency:copy-dependencies")
                .arg(with("-DoutputDirectory=", &jars)),
        )
        .await?;
        let class_path = with("", &jars.join("*"));
        let mut compile = Command::new("javac");
        compile.arg("-d").arg(&classes).arg("-cp").arg(&class_path);
        output(compile.args(java_files(&sources)?)).await?;
        let mut load_path = with("", &classes);
        load_path.push(":");
        load_path.push(&class_path);
        Ok(Kafka {
            version: kafka_version(&jars)?,
            class_path,
            load_path,
        })
    }
}

/// How Java runs Kafka, and the load program for it.
#[derive(Debug)]
pub(crate) struct Kafka {
    pub(crate) version: String,
    pub(crate) class_path: OsString,
    pub(crate) load_path: OsString,
}

fn java_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).map_err(Error::io("find the load program of Kafka"))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry
            .map_err(Error::io("find the load program of Kafka"))?
            .path();
        if path.extension().is_some_and(|it| it == "java") {
            files.push(path);
        }
    }
    Ok(files)
}

/// The version of the broker's own archive, `kafka_2.13-VERSION.jar`.
fn kafka_version(jars: &Path) -> Result<String> {
    let entries = fs::read_dir(jars).map_err(Error::io("look at Kafka"))?;
    let names = entries
        .flatten()
        .map(|it| it.file_name().to_string_lossy().into_owned());
    let version = names.filter_map(|name| {
        let version = name.strip_prefix("kafka_2.13-")?.strip_suffix(".jar")?;
        Some(version.to_owned())
    });
    version
        .max()
        .ok_or_else(|| Error::Void("Maven did not bring Kafka".to_owned()))
}

fn with(prefix: &str, path: &Path) -> OsString {
    let mut text = OsString::from(prefix);
    text.push(path);
    text
}
