//! A running broker, as the daemon, tests and other programs hold it.

mod doors;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OnceCell, Semaphore};
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, health_reporter};
use towpath_storage::vfs::RealVfs;
use towpath_storage::{Environment, RecoveryReport, SystemClock, SystemEntropy};

use crate::admin::{Admin, Serving};
use crate::api::{self, ApiMetrics, InFlight};
use crate::config::{Config, Listener};
use crate::error::StartError;
use crate::fetch::Reading;
use crate::memory::Budget;
use crate::metrics::{ConnectionMetrics, RpcMetrics, Scraper, Sources};
use crate::runtime::engine::{Engine, Identity};
use crate::runtime::read_pool::ReadPool;
use crate::runtime::sequencer::Shared as EngineShared;
use crate::runtime::threads::Threads;
use crate::server::{Connector, Server, ServerLimits};
use crate::shutdown::Drain;
use doors::Doors;

/// A running broker. Stop it with [`Broker::shutdown`]; dropping it breaks off every connection and
/// blocks until its threads have ended, without telling clients.
#[derive(Debug)]
pub struct Broker {
    local_addr: Option<SocketAddr>,
    server: Arc<Server>,
    admin: Option<Admin>,
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
        let doors = Doors::open(&config)?;
        let path = config.data_dir.clone();
        let environment = blocking(move || open_folder(&path)).await?;
        Box::pin(Self::serve(config, environment, doors)).await
    }

    /// Starts a broker on files, time and randomness from outside; `data_dir` only names them.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub async fn start_in(config: Config, environment: Environment) -> Result<Self, StartError> {
        check(&config)?;
        let doors = Doors::open(&config)?;
        Box::pin(Self::serve(config, environment, doors)).await
    }

    async fn serve(
        config: Config,
        environment: Environment,
        doors: Doors,
    ) -> Result<Self, StartError> {
        let (mut engine, recovery) = recover(&config, environment).await?;
        let report = std::mem::take(&mut engine.report);
        log_start(&config, engine.identity, &report);
        let (identity, pool) = (engine.identity, ReadPool::default());
        let (engine_shared, reader) = (engine.shared.clone(), engine.reader.clone());
        let threads = Threads::start(engine, pool.clone())
            .map_err(|source| StartError::NoThread { source })?;
        let reading = Reading::new(&engine_shared, reader, pool);
        let drain = Drain::new(config.drain_deadline);
        let shared = share(&config, &engine_shared, reading, identity, &drain);
        let limits = server_limits(&config);
        let scraper = Scraper::new(Sources {
            engine: engine_shared,
            reading: shared.reading.clone(),
            connections: Arc::clone(&limits.connections),
            rpc: Arc::clone(&limits.rpc),
            groups: Arc::clone(&shared.metrics.groups),
            refusals: Arc::clone(&shared.metrics.refusals),
            receiving: limits.receiving.clone(),
            unread: limits.unread.clone(),
            in_flight: (
                Arc::clone(&shared.in_flight.all),
                config.limits.in_flight_bytes_max,
            ),
            start_time_ms: shared.start_time_ms,
            recovery,
        });
        let (health, health_server) = health_reporter();
        let routes = api::routes(&Arc::new(shared), health_server);
        let unread = limits.unread.clone();
        let server = Server::new(routes, limits, drain.clone());
        let (clients, local_addr) = doors.clients.unzip();
        if let Some(clients) = clients {
            let accepting = Arc::clone(&server).accept_all(clients);
            drain.tasks().spawn(accepting);
        }
        doors.state.serve(Serving {
            scraper,
            drain: drain.clone(),
            failure: Arc::clone(threads.failure()),
        });
        Ok(Self {
            local_addr,
            server,
            admin: doors.admin,
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

    /// Where `/metrics`, `/livez` and `/readyz` answer, if they do.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::local_addr)
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
        // Last, so that it is told to the end what the broker is doing.
        if let Some(admin) = &self.admin {
            admin.close().await;
        }
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
    let Some((listener, listen)) = config.remote() else {
        return Ok(());
    };
    if !config.insecure_allow_remote {
        return Err(StartError::RemoteRefused { listener, listen });
    }
    match listener {
        Listener::Clients => {
            tracing::warn!(%listen, "anyone who reaches this address may read and delete everything");
        }
        Listener::Admin => {
            tracing::warn!(%listen, "anyone who reaches this address may see topics and groups");
        }
    }
    Ok(())
}

/// Opens the data folder. Also returns how long that took.
async fn recover(
    config: &Config,
    environment: Environment,
) -> Result<(Engine, Duration), StartError> {
    let options = config.engine.clone();
    let opened = blocking(move || {
        let begun = environment.clock.boot();
        let engine = Engine::open(&environment, &options)?;
        Ok((engine, environment.clock.boot().saturating_sub(begun)))
    });
    let opened = opened.await;
    opened.map_err(|error| StartError::from_open(&config.data_dir, error))
}

/// What the services share.
fn share(
    config: &Config,
    engine: &EngineShared,
    reading: Reading,
    identity: Identity,
    drain: &Drain,
) -> api::Shared {
    let clock = Arc::clone(&engine.environment.clock);
    api::Shared {
        commands: Arc::clone(&engine.commands),
        index: Arc::clone(&engine.index),
        reading,
        start_time_ms: clock.wall_ms(),
        clock,
        identity,
        heartbeat_interval: config.heartbeat_interval,
        session_timeout: config.session_timeout,
        in_flight: InFlight {
            all: Arc::new(Semaphore::new(config.limits.in_flight_bytes_max)),
            bytes_per_stream_max: config.limits.in_flight_bytes_per_stream_max,
            beyond: Arc::new(Semaphore::new(1)),
        },
        metrics: ApiMetrics {
            engine: Arc::clone(&engine.metrics),
            groups: Arc::default(),
            refusals: Arc::default(),
        },
        drain: drain.clone(),
        turn: 0.into(),
        members: Arc::default(),
        session: 1.into(),
    }
}

fn server_limits(config: &Config) -> ServerLimits {
    let patience = config.stall_deadline;
    ServerLimits {
        connection_count_max: config.limits.connection_count_max,
        connection_count_per_address_max: config.limits.connection_count_per_address_max,
        stream_count_max: config.limits.stream_count_max,
        call_count_max: config.limits.call_count_max,
        receiving: Budget::new(config.limits.receiving_bytes_max, patience),
        unread: Budget::new(config.limits.unread_bytes_max, patience),
        window_bytes_max: config.limits.window_bytes_max,
        connections: Arc::new(ConnectionMetrics::default()),
        rpc: Arc::new(RpcMetrics::new(api::DESCRIPTOR_SETS)),
    }
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
