//! The end of a server whose test process ends without dropping it: killed, aborted, or with the
//! server in a static, which is never dropped.

use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Its input ends when the test process ends, however that happens. The server is the one that
/// runs on the data then, if there is one.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
read -r _
server=$(head -n 1 "$1/data/postmaster.pid") && kill -QUIT "$server"
while kill -0 "$server"; do sleep 0.05; done
rm -rf "$1"
"#;

/// A process that waits for the end of this one.
#[derive(Debug)]
pub(super) struct Keeper(Child);

impl Keeper {
    /// Has the server of this folder stopped, and the folder removed, when this process ends.
    pub(super) fn of(folder: &Path) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "keeper"]).arg(folder);
        // Whoever reads the test's output must not wait for this one.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
        Keeper(command.spawn().expect("'sh' can be started"))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Waiting would close its input, which is what it waits for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
