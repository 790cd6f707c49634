//! A running broker, as the daemon, tests and other programs hold it.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::{OnceCell, Semaphore};
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, health_reporter};
use towpath_storage::vfs::RealVfs;
use towpath_storage::{Environment, RecoveryReport, SystemClock, SystemEntropy};

use crate::api::{self, InFlight};
use crate::config::Config;
use crate::error::StartError;
use crate::fetch::Reading;
use crate::memory::Budget;
use crate::runtime::engine::{Engine, Identity};
use crate::runtime::read_pool::ReadPool;
use crate::runtime::threads::Threads;
use crate::server::{Connector, Server, ServerLimits};
use crate::shutdown::Drain;

/// A running broker. Stop it with [`Broker::shutdown`]; dropping it breaks off every connection and
/// blocks until its threads have ended, without telling clients.
#[derive(Debug)]
pub struct Broker {
    local_addr: Option<SocketAddr>,
    server: Arc<Server>,
    identity: Identity,
    report: RecoveryReport,
    health: HealthReporter,
    drain: Drain,
    unread: Budget,
    threads: Arc<Threads>,
    stopped: OnceCell<()>,
}

impl Broker {
    /// Starts a broker on the machine's own disk, clock and random source: opens the data folder,
    /// recovers, and serves. Needs a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// [`StartError`] says why it did not start, and what to do about it.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        check(&config)?;
        let listener = listen(&config).await?;
        let path = config.data_dir.clone();
        let environment = blocking(move || open_folder(&path)).await?;
        Self::serve(config, environment, listener).await
    }

    /// Starts a broker on files, time and randomness from outside; `data_dir` only names them.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub async fn start_in(config: Config, environment: Environment) -> Result<Self, StartError> {
        check(&config)?;
        let listener = listen(&config).await?;
        Self::serve(config, environment, listener).await
    }

    async fn serve(
        config: Config,
        environment: Environment,
        listener: Option<(TcpListener, SocketAddr)>,
    ) -> Result<Self, StartError> {
        let (path, options) = (config.data_dir.clone(), config.engine.clone());
        let clock = Arc::clone(&environment.clock);
        let engine = blocking(move || Engine::open(&environment, &options));
        let mut engine = engine
            .await
            .map_err(|error| StartError::from_open(&path, error))?;
        let report = std::mem::take(&mut engine.report);
        log_start(&config, engine.identity, &report);
        let (identity, pool) = (engine.identity, ReadPool::default());
        let reader = engine.reader.clone();
        let published = Arc::clone(&engine.shared.published);
        let commands = Arc::clone(&engine.shared.commands);
        let threads = Threads::start(engine, pool.clone())
            .map_err(|source| StartError::NoThread { source })?;
        let drain = Drain::new(config.drain_deadline);
        let patience = config.stall_deadline;
        let unread = Budget::new(config.limits.unread_bytes_max, patience);
        let receiving = Budget::new(config.limits.receiving_bytes_max, patience);
        let shared = api::Shared {
            commands,
            reading: Reading::new(published, reader, pool),
            start_time_ms: clock.wall_ms(),
            clock,
            identity,
            heartbeat_interval: config.heartbeat_interval,
            in_flight: InFlight {
                all: Arc::new(Semaphore::new(config.limits.in_flight_bytes_max)),
                bytes_per_stream_max: config.limits.in_flight_bytes_per_stream_max,
            },
            drain: drain.clone(),
            turn: 0.into(),
            session: 1.into(),
        };
        let (health, health_server) = health_reporter();
        let routes = api::routes(&Arc::new(shared), health_server);
        let limits = ServerLimits {
            connection_count_max: config.limits.connection_count_max,
            stream_count_max: config.limits.stream_count_max,
            receiving,
            unread: unread.clone(),
        };
        let server = Server::new(routes, limits, drain.clone());
        let (listener, local_addr) = listener.unzip();
        if let Some(listener) = listener {
            let accepting = Arc::clone(&server).accept_all(listener);
            drain.tasks().spawn(accepting);
        }
        Ok(Self {
            local_addr,
            server,
            identity,
            report,
            health,
            drain,
            unread,
            threads: Arc::new(threads),
            stopped: OnceCell::new(),
        })
    }

    /// Where it listens; none if it was told not to.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addr
    }

    /// Connects clients of this process without a port.
    pub fn connector(&self) -> Connector {
        Connector::new(&self.server)
    }

    /// Which data it holds, and which life of them this is.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// What recovery found and did.
    pub fn report(&self) -> &RecoveryReport {
        &self.report
    }

    /// Waits until the broker cannot go on, because the disk failed; returns why. The process must
    /// then end with exit code 70: what the disk holds is known only after the next start. Safe to
    /// drop.
    pub async fn failed(&self) -> String {
        self.threads.failure().wait().await.to_owned()
    }

    /// Stops: accepts nothing more, tells every stream, answers what was begun, ends or, after the
    /// deadline, breaks off what is open, finishes the last round and joins all threads. A second
    /// call waits for the first. Dropping the future leaves the broker half stopped; call it again.
    pub async fn shutdown(&self) {
        self.stopped.get_or_init(|| self.stop()).await;
    }

    async fn stop(&self) {
        let mut health = self.health.clone();
        health
            .set_service_status(ALL_SERVICES, ServingStatus::NotServing)
            .await;
        // Ends the streams that watch it, which would otherwise last until the deadline.
        health.clear_service_status(ALL_SERVICES).await;
        let end_readers = async {
            tokio::time::sleep(self.drain.notice()).await;
            // Those that have read the news are gone; the others lose nothing.
            self.unread.end_all();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = self.drain.run() => {}
            () = end_readers => {}
        }
        let threads = Arc::clone(&self.threads);
        blocking(move || threads.stop()).await;
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.drain.abort();
        self.threads.stop();
    }
}

/// Name of the status of the whole broker in `grpc.health.v1`.
const ALL_SERVICES: &str = "";

fn check(config: &Config) -> Result<(), StartError> {
    let problems = config.validate();
    if !problems.is_empty() {
        return Err(StartError::InvalidConfig { problems });
    }
    let Some(listen) = config.listen.filter(|_| config.is_remote()) else {
        return Ok(());
    };
    if !config.insecure_allow_remote {
        return Err(StartError::RemoteRefused { listen });
    }
    tracing::warn!(%listen, "anyone who reaches this address may read and delete everything");
    Ok(())
}

fn log_start(config: &Config, identity: Identity, report: &RecoveryReport) {
    let Identity {
        broker_id,
        incarnation,
    } = identity;
    tracing::info!(%broker_id, incarnation, changed = ?config.changed(), "broker starts");
    let RecoveryReport {
        is_new,
        entry_count,
        frame_count,
        quarantined_bytes,
        losses,
    } = report;
    tracing::info!(
        is_new,
        entry_count,
        frame_count,
        quarantined_bytes,
        "data folder recovered"
    );
    for loss in losses {
        tracing::error!(%loss, "acknowledged records are lost");
    }
}

/// Takes the address that was asked for; returns the one that it got.
async fn listen(config: &Config) -> Result<Option<(TcpListener, SocketAddr)>, StartError> {
    let Some(listen) = config.listen else {
        return Ok(None);
    };
    let refused = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => StartError::PortInUse { listen },
        _ => StartError::CannotListen { listen, source },
    };
    let listener = TcpListener::bind(listen).await.map_err(refused)?;
    let local_addr = listener.local_addr().map_err(refused)?;
    Ok(Some((listener, local_addr)))
}

fn open_folder(path: &Path) -> Result<Environment, StartError> {
    let vfs = RealVfs::create(path).map_err(|source| StartError::FolderNotOpened {
        path: path.to_owned(),
        source,
    })?;
    Ok(Environment {
        vfs: Arc::new(vfs),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
    })
}

/// Runs what waits for the disk on a thread of its own.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going down, and whoever waits goes with it.
            Err(_cancelled) => std::future::pending().await,
        },
    }
}
