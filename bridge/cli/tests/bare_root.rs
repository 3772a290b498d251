//! A Debian root with what the smallest one has, and nothing else: no network, no Rust, no DuckDB, no file of this machine but
//! those of Debian's own packages. What runs there runs on a machine on which nothing was prepared.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tidegate_testkit::Program;

/// Where a Debian system keeps what it knows of its packages.
const DPKG: &str = "var/lib/dpkg";
/// What containers leave out, and nobody runs.
const NOT_COPIED: [&str; 6] =
    ["/usr/share/doc", "/usr/share/man", "/usr/share/info", "/usr/share/locale", "/usr/share/lintian", "/etc/cron"];
/// Makes the root the whole world of what follows: its own devices, processes and network, in which there is but the machine
/// itself. It ends, and with it all that runs there, when its standard input does.
const ENTER: &str = r#"
mount -t proc proc "$1/proc"
for device in null zero random urandom; do
    : > "$1/dev/$device"
    mount --bind "/dev/$device" "$1/dev/$device"
done
ip link set lo up
exec chroot "$1" /bin/sh -c 'echo ready; exec cat'
"#;

/// A package of this machine.
struct Package {
    /// Its name for dpkg, which has the architecture where several are installed.
    name: String,
    is_essential: bool,
    /// What it needs, as dpkg writes it.
    needs: String,
}

/// The packages that are installed here, and what they go by: their names and what they provide.
struct Machine {
    packages: Vec<Package>,
    by_name: BTreeMap<String, usize>,
}

impl Machine {
    fn read() -> Machine {
        let format = "${db:Status-Abbrev}\t${Package}\t${binary:Package}\t${Essential}\t${Provides}\t${Pre-Depends}, ${Depends}\n";
        let told = output(Command::new("dpkg-query").args(["--show", "--showformat", format]));
        let mut machine = Machine { packages: Vec::new(), by_name: BTreeMap::new() };
        let mut provided = Vec::new();
        for line in told.lines().filter(|line| line.starts_with("ii")) {
            let [_, name, full, essential, provides, needs] = line.splitn(6, '\t').collect::<Vec<_>>()[..] else {
                panic!("dpkg-query tells something else: {line}")
            };
            let index = machine.packages.len();
            machine.by_name.insert(name.to_owned(), index);
            provided.extend(names(provides).flatten().map(|name| (name, index)));
            let (name, needs) = (full.to_owned(), needs.to_owned());
            machine.packages.push(Package { name, is_essential: essential == "yes", needs });
        }
        for (name, index) in provided {
            machine.by_name.entry(name).or_insert(index);
        }
        machine
    }

    /// Packages with everything that they need.
    fn with_needs(&self, mut wanted: Vec<usize>) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        while let Some(index) = wanted.pop() {
            if found.insert(index) {
                wanted.extend(self.needed(&self.packages[index].needs));
            }
        }
        found
    }

    /// What a list of dependencies comes to here: the first of its alternatives that is installed.
    fn needed(&self, list: &str) -> Vec<usize> {
        let chosen = names(list).map(|alternatives| {
            let mut installed = alternatives.iter().filter_map(|name| self.by_name.get(name).copied());
            installed.next().unwrap_or_else(|| {
                panic!(
                    "the bare root needs Debian's {}: apt-get install {}",
                    alternatives.join(" or "),
                    alternatives[0]
                )
            })
        });
        chosen.collect()
    }
}

/// The names in `libc6 (>= 2.36), mawk | awk:any`, each with its alternatives.
fn names(list: &str) -> impl Iterator<Item = Vec<String>> {
    let name = |one: &str| one.split([' ', '(', ':']).next().unwrap_or_default().to_owned();
    let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    entries.map(move |entry| entry.split('|').map(|one| name(one.trim())).collect())
}

/// Such a root, and the process that holds it.
pub struct BareRoot {
    holder: Child,
    /// The first process within, as it is called outside.
    inside: String,
    folder: TempDir,
}

impl BareRoot {
    /// Essential packages and apt with all that they need, which is what Debian calls its minimal base; and what the Debian
    /// package of that path needs.
    ///
    /// # Panics
    /// Where that is not possible, with what is missing.
    pub fn create(package: &Path) -> BareRoot {
        let machine = Machine::read();
        let essential = (0..machine.packages.len()).filter(|index| machine.packages[*index].is_essential);
        let more = output(Command::new("dpkg-deb").arg("--field").arg(package).arg("Depends"));
        let wanted = essential.chain(machine.needed("apt")).chain(machine.needed(&more)).collect();
        let chosen = machine.with_needs(wanted);
        let chosen: Vec<&str> = chosen.into_iter().map(|index| machine.packages[index].name.as_str()).collect();
        let folder = tempfile::tempdir().unwrap();
        copy_files(&chosen, folder.path());
        tell_dpkg(&chosen, folder.path());
        for place in ["proc", "dev", "root", "tmp"] {
            fs::create_dir_all(folder.path().join(place)).unwrap();
        }
        for list in ["passwd", "group"] {
            let master = folder.path().join(format!("usr/share/base-passwd/{list}.master"));
            fs::copy(&master, folder.path().join("etc").join(list)).unwrap();
        }
        let (holder, inside) = enter(folder.path());
        BareRoot { holder, inside, folder }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A program in it, with nothing of this process's environment.
    pub fn program(&self, words: &[&str]) -> Program {
        let within = ["--user", "--preserve-credentials", "--mount", "--net", "--pid", "--root", "--wd"];
        let program = Program::new("nsenter").arguments(["--target", &self.inside]).arguments(within);
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        program
            .arguments(["/usr/bin/env", "--ignore-environment", "--chdir=/root", "HOME=/root", path])
            .arguments(words.iter().copied())
    }
}

impl Drop for BareRoot {
    fn drop(&mut self) {
        // The end of its input is its end, and that of everything in it.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

/// Copies the files of packages, as dpkg lists them, without documentation.
fn copy_files(packages: &[&str], root: &Path) {
    let mut files = BTreeSet::new();
    let listed = output(Command::new("dpkg-query").arg("--listfiles").args(packages));
    for file in listed.lines().filter(|line| line.starts_with('/') && *line != "/.") {
        if NOT_COPIED.iter().any(|left_out| file.starts_with(left_out)) {
            continue;
        }
        // Packages still name /bin/sh, where that folder is a link: the file goes where it lies.
        let path = Path::new(file);
        let (folder, name) = path.parent().zip(path.file_name()).expect("a file has a name and a folder");
        let Ok(folder) = folder.canonicalize() else { continue };
        let path = folder.join(name);
        if path.symlink_metadata().is_ok() {
            files.insert(path);
        }
    }
    let names: Vec<String> =
        files.iter().map(|path| path.strip_prefix("/").expect("it is absolute").display().to_string()).collect();
    let mut pack = Command::new("tar")
        .args(["--create", "--directory=/", "--no-recursion", "--no-unquote", "--files-from=-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("tar can be started");
    let (mut list, files) = (pack.stdin.take().unwrap(), pack.stdout.take().unwrap());
    let unpack =
        Command::new("tar").args(["--extract", "--no-same-owner", "--directory"]).arg(root).stdin(files).spawn();
    let mut unpack = unpack.expect("tar can be started");
    list.write_all(names.join("\n").as_bytes()).unwrap();
    drop(list);
    assert!(pack.wait().unwrap().success() && unpack.wait().unwrap().success(), "the root's files cannot be copied");
}

/// The root's dpkg knows the packages that are there.
fn tell_dpkg(packages: &[&str], root: &Path) {
    let database = root.join(DPKG);
    for folder in ["info", "updates", "triggers"] {
        fs::create_dir_all(database.join(folder)).unwrap();
    }
    let status = output(Command::new("dpkg-query").arg("--status").args(packages));
    fs::write(database.join("status"), status).unwrap();
    for package in packages {
        let list = PathBuf::from(format!("info/{package}.list"));
        let copied = fs::copy(Path::new("/").join(DPKG).join(&list), database.join(&list));
        copied.unwrap_or_else(|error| panic!("/{DPKG}/{} cannot be read: {error}", list.display()));
    }
}

/// Enters the root, and stays there.
fn enter(root: &Path) -> (Child, String) {
    let namespaces = ["--map-root-user", "--mount", "--net", "--pid", "--fork", "--kill-child"];
    let mut holder = Command::new("unshare")
        .args(namespaces)
        .args(["/bin/sh", "-euc", ENTER, "sh"])
        .arg(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("`unshare` of Debian's util-linux can be started");
    let mut said = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
    if said != "ready\n" {
        let ended = holder.wait_with_output().unwrap();
        panic!(
            "a root of its own cannot be entered: {}\nThis test makes namespaces (`unshare {}`), mounts proc in them and calls `ip` of \
             Debian's iproute2. Allow user namespaces (sysctl kernel.unprivileged_userns_clone=1, and \
             kernel.apparmor_restrict_unprivileged_userns=0 where there is one); in a container run it as root with \
             --cap-add SYS_ADMIN --security-opt seccomp=unconfined --security-opt systempaths=unconfined",
            String::from_utf8_lossy(&ended.stderr).trim(),
            namespaces.join(" ")
        );
    }
    let id = holder.id();
    let children = format!("/proc/{id}/task/{id}/children");
    let inside = fs::read_to_string(&children).unwrap_or_else(|error| panic!("{children} cannot be read: {error}"));
    (holder, inside.trim().to_owned())
}

/// What a command prints.
#[track_caller]
fn output(command: &mut Command) -> String {
    let program = command.get_program().to_string_lossy().into_owned();
    let ended = command.output().unwrap_or_else(|error| {
        panic!("{program} cannot be started ({error}): the bare root is made of the Debian packages of this machine, so this test runs on Debian and Ubuntu")
    });
    assert!(ended.status.success(), "{program}: {}", String::from_utf8_lossy(&ended.stderr));
    String::from_utf8(ended.stdout).expect("dpkg writes UTF-8")
}
