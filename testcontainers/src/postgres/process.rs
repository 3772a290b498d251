//! A server as a process of this machine: made in a temporary folder, started, stopped in
//! PostgreSQL's ways, killed, and started again on the same port and data.

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use rand::Rng;
use rustix::process::{Pid, Signal, kill_process};

use super::keeper::Keeper;
use super::programs::{Account, PostgresVersion, Programs};
use super::server::{Cluster, INITDB, STOP_MAX, Shutdown, settings_text, tls_settings};
use super::tls::Certificates;

const START_MAX: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Below the ports that the system gives to outgoing connections: nobody takes the port of a
/// server that is down for a moment.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
const PORT_ATTEMPTS_MAX: u32 = 20;

/// A server that runs or is down.
#[derive(Debug)]
pub(super) struct ServerProcess {
    account: Account,
    programs: Programs,
    /// Holds the data, the log, and what else belongs to the server.
    folder: PathBuf,
    port: u16,
    process: Option<Child>,
    /// There while the process is, and longer than it.
    keeper: Option<Keeper>,
}

impl ServerProcess {
    /// Makes an empty cluster in a folder, where its certificates are already, and starts a server
    /// on it, on a port of its own.
    pub(super) fn start(version: PostgresVersion, cluster: &Cluster, folder: &Path) -> Self {
        let account = Account::choose();
        account.give(folder);
        let programs = account.reachable(Programs::locate(version));
        initialise(&account, &programs, folder, &folder.join("data"));
        if let Some(certificates) = &cluster.certificates {
            account.give(&certificates.server_key);
        }
        configure(&folder.join("data"), cluster);
        let folder = folder.to_owned();
        let mut server = ServerProcess { account, programs, folder, port: 0, process: None, keeper: None };
        for _ in 0..PORT_ATTEMPTS_MAX {
            server.port = free_port();
            match server.start_again() {
                Ok(()) => return server,
                // Another process was faster.
                Err(log) if log.contains("could not bind") => {}
                Err(log) => panic!("postgres did not start: {log}"),
            }
        }
        panic!("postgres found no free port in {PORT_ATTEMPTS_MAX} attempts");
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub(super) fn log(&self) -> String {
        let text = fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    /// Starts it and waits until it takes connections; otherwise answers what it wrote to its log.
    pub(super) fn start_again(&mut self) -> Result<(), String> {
        assert!(self.process.is_none(), "postgres runs already");
        let log_before = self.log().len();
        let output = File::options().create(true).append(true).open(self.log_file()).expect("a log can be made");
        let child = self
            .account
            .command(&self.programs, "postgres")
            .arg("-D")
            .arg(self.data())
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-k", ""])
            .stdout(output.try_clone().expect("a file handle can be copied"))
            .stderr(output)
            .current_dir(&self.folder)
            .spawn()
            .expect("postgres can be started");
        let process = self.process.insert(child);
        self.keeper = Some(Keeper::of(&self.folder));
        let started = Instant::now();
        while !is_ready(&self.folder.join("data"), process.id()) {
            let ended = process.try_wait().expect("an own child can be asked").is_some();
            if ended || started.elapsed() > START_MAX {
                self.kill();
                return Err(self.log().split_off(log_before));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// Shuts it down and waits for its end.
    pub(super) fn stop(&mut self, shutdown: Shutdown) {
        let mut process = self.process.take().expect("postgres runs");
        let signal = match shutdown {
            Shutdown::Fast => Signal::INT,
            Shutdown::Immediate => Signal::QUIT,
        };
        send(Pid::from_child(&process), signal);
        let asked = Instant::now();
        while process.try_wait().expect("an own child can be asked").is_none() {
            if asked.elapsed() > STOP_MAX {
                let left = processes_of(Pid::from_child(&process)).join("\n");
                self.process = Some(process);
                panic!("postgres did not stop within {STOP_MAX:?}, these processes are left:\n{left}\n{}", self.log());
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        self.keeper = None;
    }

    /// SIGKILL to the server and all its children. They see nothing coming, and the data stays
    /// as they left it in the system's page cache.
    pub(super) fn kill(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        if process.try_wait().expect("an own child can be asked").is_some() {
            self.keeper = None;
            // Its number may belong to another process by now.
            return;
        }
        let server = Pid::from_child(&process);
        // A stopped server makes no new children.
        send(server, Signal::STOP);
        let children = children(server);
        for child in &children {
            send(*child, Signal::KILL);
        }
        send(server, Signal::KILL);
        process.wait().expect("an own child can be waited for");
        while children.iter().any(|child| is_alive(*child)) {
            std::thread::sleep(POLL_INTERVAL);
        }
        // The next start would refuse when another process had the old one's number by then.
        let _ = fs::remove_file(self.data().join("postmaster.pid"));
        self.keeper = None;
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        // An immediate shutdown: nothing is kept, but the server's own children and its shared
        // memory go with it, which a kill would leave behind.
        let asked = Instant::now();
        while let Ok(None) = process.try_wait() {
            if asked.elapsed() > START_MAX {
                let _ = process.kill();
            }
            send(Pid::from_child(&process), Signal::QUIT);
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

/// Makes an empty cluster. Each has an identity of its own, which a copy of another would not have.
fn initialise(account: &Account, programs: &Programs, folder: &Path, data: &Path) {
    let output = account
        .command(programs, "initdb")
        .args(INITDB)
        .arg("--pgdata")
        .arg(data)
        .current_dir(folder)
        .output()
        .expect("initdb can be started");
    assert!(output.status.success(), "initdb failed: {}", String::from_utf8_lossy(&output.stderr));
}

fn configure(data: &Path, cluster: &Cluster) {
    let mut settings = cluster.settings.clone();
    if let Some(Certificates { ca, server, server_key, .. }) = &cluster.certificates {
        let path = |path: &Path| path.display().to_string();
        settings.splice(0..0, tls_settings(path(ca), path(server), path(server_key)));
    }
    let mut file = File::options().append(true).open(data.join("postgresql.conf")).expect("initdb made it");
    file.write_all(settings_text(&settings).as_bytes()).expect("the settings can be written");
    let hba = data.join("pg_hba.conf");
    let trust = fs::read_to_string(&hba).expect("initdb made it");
    fs::write(hba, format!("{}{trust}", cluster.hba)).expect("the rules of access can be written");
}

/// A process that is gone already got what was meant for it.
fn send(process: Pid, signal: Signal) {
    let _ = kill_process(process, signal);
}

/// What `pg_ctl --wait` looks at: line 1 has the process, line 8 its state
/// (`src/include/utils/pidfile.h`).
fn is_ready(data: &Path, process: u32) -> bool {
    let text = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.first() == Some(&process.to_string().as_str()) && matches!(lines.get(7), Some(&("ready" | "standby")))
}

/// The processes whose parent this one is.
fn children(parent: Pid) -> Vec<Pid> {
    let parent = parent.as_raw_nonzero().to_string();
    let processes = fs::read_dir("/proc").expect("the list of processes can be read");
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Pid::from_raw)
        .filter(|process| state(*process).is_some_and(|(_, its_parent)| its_parent == parent))
        .collect()
}

/// A line for a server and each of its children: number, state, what the kernel waits for, and the
/// title that PostgreSQL gives to its processes.
fn processes_of(server: Pid) -> Vec<String> {
    let read = |process: Pid, file: &str| {
        let text = fs::read(format!("/proc/{}/{file}", process.as_raw_nonzero())).unwrap_or_default();
        String::from_utf8_lossy(&text).replace('\0', " ").trim().to_owned()
    };
    let line = |process: Pid| {
        let letter = state(process).map_or_else(|| "gone".to_owned(), |(letter, _)| letter);
        let (waits_for, title) = (read(process, "wchan"), read(process, "cmdline"));
        format!("{} {letter} {waits_for} {title}", process.as_raw_nonzero())
    };
    std::iter::once(server).chain(children(server)).map(line).collect()
}

/// A process that has ended and that nobody has asked for its end holds nothing any more.
fn is_alive(process: Pid) -> bool {
    state(process).is_some_and(|(letter, _)| !matches!(letter.as_str(), "Z" | "X"))
}

/// A process's state and parent, which follow its name in parentheses (`proc_pid_stat(5)`).
fn state(process: Pid) -> Option<(String, String)> {
    let text = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().map(str::to_owned);
    Some((fields.next()?, fields.next()?))
}

fn free_port() -> u16 {
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut drawn = std::iter::repeat_with(|| rand::rng().random_range(PORTS));
    drawn.find(is_free).expect("the iterator does not end")
}
