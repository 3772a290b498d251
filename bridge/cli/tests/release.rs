//! What comes with a release beside the program: its manual page, completions, the unit for systemd; and pictures of lineage.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use tidegate_testkit::{Catalog, Lake};

use crate::pipeline::{PipelineFolder, Spec, tidegate};

/// The commands that `--help` lists.
fn commands() -> Vec<String> {
    let help = tidegate(&["--help"]).run().expect(0).stdout;
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()));
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn the_manual_page_has_every_command() {
    let page = tidegate(&["man"]).run().expect(0).stdout;
    assert!(page.contains(".TH tidegate 1") && page.contains(".SH \"EXIT STATUS\""), "{page}");
    let commands = commands();
    assert!(commands.len() > 15, "{commands:?}");
    for command in commands {
        assert!(page.contains(&format!("\n.SS {command}\n")), "{command} is not in the manual page");
    }
}

#[test]
fn shells_complete_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = tidegate(&["completions", shell]).run().expect(0).stdout;
        for command in commands() {
            assert!(script.contains(&command), "{shell} does not know {command}");
        }
    }
    let script = tidegate(&["completions", "bash"]).run().expect(0).stdout;
    let mut bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().expect("bash can be started");
    bash.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(bash.wait().unwrap().success(), "bash does not take the script");
}

/// As `cargo install` copies it: alone, and nobody says where the library is.
#[test]
fn the_program_runs_wherever_it_is_copied_to() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("tidegate");
    std::fs::copy(env!("CARGO_BIN_EXE_tidegate"), &program).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        let ended = command.args(arguments).env_remove("LD_LIBRARY_PATH").current_dir(&folder).output().unwrap();
        assert!(ended.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ended.stderr));
    };
    run(&["init", "shop"]);
    run(&["run", "shop/pipeline.toml", "--once"]);
    assert!(folder.path().join("shop/out/mart.duckdb").exists());
}

#[test]
fn the_unit_is_the_one_in_the_book() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |file: &str| std::fs::read_to_string(root.join(file)).unwrap();
    assert!(read("docs/src/monitoring.md").contains(&read("xtask/packaging/tidegate@.service")));
}

#[test]
fn lineage_is_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("lake");
    let lake = Lake::create(&home, Catalog::sqlite(&home));
    lake.execute("CREATE TABLE lake.orders (customer VARCHAR, amount DECIMAL(10,2))");
    let views =
        vec![("totals".to_owned(), "SELECT customer, sum(amount) AS total FROM lake.orders GROUP BY 1".to_owned())];
    let pipeline = PipelineFolder::create(&folder.path().join("pipeline"), &Spec { views, ..Spec::new(&lake) });
    let drawn = |format| pipeline.command("explain", &["totals", "--format", format]).run().expect(0).stdout;
    let mermaid = drawn("mermaid");
    assert!(mermaid.starts_with("flowchart LR\n") && mermaid.contains("t0[\"lake.main.orders\"]"), "{mermaid}");
    assert_eq!(mermaid.matches(" --> ").count(), 2);
    let svg = folder.path().join("lineage.svg");
    std::fs::write(&svg, drawn("svg")).unwrap();
    let parse = "import sys, xml.etree.ElementTree as tree; print(tree.parse(sys.argv[1]).getroot().tag)";
    let parsed = Command::new("python3").args(["-c", parse]).arg(&svg).output().expect("python3 can be started");
    assert_eq!(String::from_utf8_lossy(&parsed.stdout).trim(), "{http://www.w3.org/2000/svg}svg");
}
