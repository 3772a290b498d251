//! A server in a Docker container of PostgreSQL's own image, through the `testcontainers` crate.
//!
//! The container's first process only waits, and the server is started and stopped beside it: its
//! data, its log and its published port outlive every restart. The engine removes the container when
//! that first process ends.

use std::sync::Arc;

use testcontainers::bollard::exec::StartExecResults;
use testcontainers::core::{ExecCommand, IntoContainerPort};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, CopyTargetOptions, GenericImage, ImageExt};

use super::programs::PostgresVersion;
use super::server::{Cluster, INITDB, STOP_MAX, Shutdown, settings_text, tls_settings};
use super::session::wait;
use crate::docker;

const IMAGE: &str = "postgres";
const PORT: u16 = 5432;
/// The image's account; the server refuses to run as root.
const ACCOUNT: &str = "postgres";
/// The default of an engine, 64 MiB, is less than parallel queries may want.
const SHARED_MEMORY_BYTES: u64 = 256 << 20;
/// Seconds.
const START_MAX: u64 = 60;

/// The first process. A shell, because whoever is first must wait for the processes of others that
/// lost their parents.
const WAIT: &str = "trap 'exit 0' TERM INT; while :; do sleep 3600 & wait $!; done";
/// What goes into the container before its start, and where the account keeps its own.
const GIVEN: &str = "/tidegate";
const HOME: &str = "/var/lib/postgresql/tidegate";

/// Clients come through the engine's network, so that the server never sees 127.0.0.1.
const PREPARE: &str = r#"
set -e
umask 077
mkdir -p "$HOME/tls"
initdb "$@" --pgdata="$HOME/data"
cat "$GIVEN/settings.conf" >> "$HOME/data/postgresql.conf"
cat "$GIVEN/hba.conf" "$HOME/data/pg_hba.conf" | sed 's#127\.0\.0\.1/32#all#g' > "$HOME/hba"
mv "$HOME/hba" "$HOME/data/pg_hba.conf"
for file in ca.crt server.crt server.key; do
    if [ -e "$GIVEN/$file" ]; then cp "$GIVEN/$file" "$HOME/tls/$file"; fi
done
"#;

/// A stopped server makes no new children. The next start would refuse when another process had the
/// old one's number by then, and so its file goes. Ended processes have no program any more.
const KILL: &str = r#"
servers() {
    for process in /proc/[0-9]*; do
        case $(readlink "$process/exe") in */bin/postgres*) echo "${process#/proc/}" ;; esac
    done
}
kill -STOP "$(head -n 1 "$HOME/data/postmaster.pid")" || exit 1
while servers=$(servers) && [ -n "$servers" ]; do kill -KILL $servers; done
rm -f "$HOME/data/postmaster.pid"
"#;

type Container = ContainerAsync<GenericImage>;

/// Makes sure that an engine has the image of a version: answers its name, or why it cannot be had.
pub(super) fn have_image(version: PostgresVersion, say: &(impl Fn(&str) + Sync)) -> Result<String, String> {
    docker::have_image(IMAGE, &version.major().to_string(), say)
}

fn image(version: PostgresVersion) -> GenericImage {
    GenericImage::new(IMAGE.to_owned(), version.major().to_string())
}

/// Whether the server runs in its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Up,
    Down,
}

/// A server in a container of its own.
pub(super) struct ServerContainer {
    container: Option<Arc<Container>>,
    port: u16,
    state: State,
    /// The input of the keeper in the container.
    _keeper: StartExecResults,
}

impl ServerContainer {
    /// Starts a container, makes a cluster and starts a server on it.
    pub(super) fn start(version: PostgresVersion, cluster: &Cluster) -> Self {
        let mut settings = cluster.settings.clone();
        if cluster.certificates.is_some() {
            let path = |name: &str| format!("{HOME}/tls/{name}");
            settings.splice(0..0, tls_settings(path("ca.crt"), path("server.crt"), path("server.key")));
        }
        let mut request = image(version)
            .with_entrypoint("sh")
            .with_exposed_port(PORT.tcp())
            .with_cmd(["-c", WAIT])
            .with_user(ACCOUNT)
            .with_env_var("LC_ALL", "C")
            .with_env_var("HOME", HOME)
            .with_env_var("GIVEN", GIVEN)
            .with_shm_size(SHARED_MEMORY_BYTES)
            .with_host_config_modifier(|host| docker::publish(host, &[PORT]))
            .with_copy_to(given("settings.conf"), settings_text(&settings).into_bytes())
            .with_copy_to(given("hba.conf"), cluster.hba.clone().into_bytes());
        if let Some(certificates) = &cluster.certificates {
            for (name, file) in [
                ("ca.crt", &certificates.ca),
                ("server.crt", &certificates.server),
                ("server.key", &certificates.server_key),
            ] {
                request = request.with_copy_to(given(name), file.as_path());
            }
        }
        let started = wait(async move {
            let container = request.start().await.map_err(|error| error.to_string())?;
            let port = container.get_host_port_ipv4(PORT.tcp()).await.map_err(|error| error.to_string())?;
            let keeper = docker::keeper(&container).await?;
            Ok::<_, String>((container, port, keeper))
        });
        let (container, port, keeper) = started
            .unwrap_or_else(|error| panic!("a container of {IMAGE}:{} does not start: {error}", version.major()));
        let mut server =
            ServerContainer { container: Some(Arc::new(container)), port, state: State::Down, _keeper: keeper };
        server.run(PREPARE, &INITDB).unwrap_or_else(|error| panic!("the cluster cannot be made: {error}"));
        server.start_again().unwrap_or_else(|log| panic!("postgres did not start: {log}"));
        if let Err(error) = std::net::TcpStream::connect(("127.0.0.1", port)) {
            panic!(
                "the engine published port {port}, where nothing answers on this machine ({error}): it runs elsewhere; \
                 set {}=process",
                super::backend::VARIABLE
            );
        }
        server
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn log(&self) -> String {
        self.run("cat \"$HOME/log\"", &[]).unwrap_or_else(|error| format!("there is no log: {error}"))
    }

    /// Starts it and waits until it takes connections; otherwise answers what it wrote to its log.
    pub(super) fn start_again(&mut self) -> Result<(), String> {
        assert_eq!(self.state, State::Down, "postgres runs already");
        let log_before = self.run("touch \"$HOME/log\" && cat \"$HOME/log\"", &[])?.len();
        let start = format!(
            "pg_ctl start --pgdata=\"$HOME/data\" --log=\"$HOME/log\" --wait --timeout={START_MAX} -o \"-h '*' -k ''\""
        );
        match self.run(&start, &[]) {
            Ok(_) => {
                self.state = State::Up;
                Ok(())
            }
            Err(error) => Err(self.log().get(log_before..).map_or(error, str::to_owned)),
        }
    }

    /// Shuts it down and waits for its end.
    pub(super) fn stop(&mut self, shutdown: Shutdown) {
        assert_eq!(self.state, State::Up, "postgres runs");
        let mode = match shutdown {
            Shutdown::Fast => "fast",
            Shutdown::Immediate => "immediate",
        };
        let timeout = STOP_MAX.as_secs();
        let stop = format!("pg_ctl stop --pgdata=\"$HOME/data\" --mode={mode} --wait --timeout={timeout}");
        if let Err(error) = self.run(&stop, &[]) {
            panic!("postgres did not stop: {error}: {}", self.log());
        }
        self.state = State::Down;
    }

    /// SIGKILL to the server and all its children. They see nothing coming, and the data stays
    /// as they left it in the system's page cache.
    pub(super) fn kill(&mut self) {
        if self.state == State::Up {
            self.run(KILL, &[]).unwrap_or_else(|error| panic!("postgres cannot be killed: {error}"));
            self.state = State::Down;
        }
    }

    /// Runs a script in the container and answers what it wrote, as an error when it failed.
    fn run(&self, script: &str, arguments: &[&str]) -> Result<String, String> {
        let container = Arc::clone(self.container.as_ref().expect("it is there until it is dropped"));
        // The last line says how it ended.
        let script = format!("exec 2>&1\n(\n{script}\n)\nprintf '\\n%s' $?");
        let words = ["sh", "-c", &script, "sh"];
        let command = ExecCommand::new(words.iter().chain(arguments).map(|word| (*word).to_owned()));
        let output = wait(async move {
            let run = async { container.exec(command).await?.stdout_to_vec().await };
            run.await.map_err(|error| error.to_string())
        })?;
        let output = String::from_utf8_lossy(&output).into_owned();
        match output.rsplit_once('\n') {
            Some((output, "0")) => Ok(output.to_owned()),
            _ => Err(output),
        }
    }
}

impl Drop for ServerContainer {
    fn drop(&mut self) {
        let Some(container) = self.container.take().and_then(Arc::into_inner) else { return };
        // Within the runtime, which it takes to drop a container. What fails has been removed already, or
        // the engine is gone; and the keeper's input ends right after this.
        wait(async move { drop(container.rm().await) });
    }
}

fn given(name: &str) -> CopyTargetOptions {
    CopyTargetOptions::new(format!("{GIVEN}/{name}")).with_mode(0o644)
}
