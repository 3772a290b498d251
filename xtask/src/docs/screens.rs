//! Pictures of the book's pages, in light and in dark, by the browser of the tests; and what can be told without looking at them:
//! no page is wider than a laptop's or a phone's window, complains, or asks another place for something.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::cache;
use crate::packages::PACKAGES;
use crate::process::checkout;

/// Windows in which each page is opened, and what its picture is called; the phone's is not kept.
const WINDOWS: [(u32, u32, bool, Option<&str>); 3] =
    [(1280, 900, false, Some("light")), (1280, 900, true, Some("dark")), (360, 740, false, None)];

/// Takes the pictures of all pages of the table of contents.
pub fn take(book: &Path, screens: &Path) -> Result<()> {
    if screens.exists() {
        fs::remove_dir_all(screens)?;
    }
    fs::create_dir_all(screens)?;
    let summary = checkout().join("docs/src/SUMMARY.md");
    let summary = fs::read_to_string(&summary).with_context(|| summary.display().to_string())?;
    let mut browser = Browser::start()?;
    let (mut faults, mut count) = (Vec::new(), 0);
    for page in super::markup::links(&summary).iter().filter_map(|link| link.strip_suffix(".md")) {
        let file = book.join(page).with_extension("html");
        for (width, height, dark, picture) in WINDOWS {
            let url = format!("file://{}", file.display());
            browser.ask(json!({ "command": "open", "url": url, "width": width, "height": height, "dark": dark }))?;
            let over = browser.ask(json!({ "command": "overflow" }))?.as_i64().unwrap_or_default();
            if over > 0 {
                faults.push(format!("{page}: it is {over} pixels wider than a window of {width}"));
            }
            let complaints = browser.ask(json!({ "command": "complaints" }))?;
            let complaints = complaints.as_array().into_iter().flatten().filter_map(Value::as_str);
            faults.extend(complaints.map(|complaint| format!("{page}: {complaint}")));
            if let Some(picture) = picture {
                let shot = screens.join(format!("{}-{picture}.png", page.replace('/', "-")));
                browser.ask(json!({ "command": "shot", "path": shot }))?;
                count += 1;
            }
        }
    }
    if !faults.is_empty() {
        bail!("{} faults in a browser:\n{}", faults.len(), faults.join("\n"));
    }
    println!("{count} pictures are in {}", screens.display());
    Ok(())
}

/// A browser that is driven by `testcontainers/browser/driver.mjs`.
struct Browser {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Browser {
    fn start() -> Result<Browser> {
        let cache = cache::folder()?;
        let place = |name: &str| {
            let package = PACKAGES.iter().find(|package| package.name == name);
            package.map(|package| cache.join(package.place)).with_context(|| format!("{name} is a package"))
        };
        let mut child = Command::new("node")
            .arg(checkout().join("testcontainers/browser/driver.mjs"))
            .args([place("playwright-core")?, place("@sparticuz/chromium")?])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("`node` could not be started")?;
        let input = child.stdin.take().context("the browser's input is a pipe")?;
        let output = BufReader::new(child.stdout.take().context("the browser's output is a pipe")?);
        let mut browser = Browser { child, input, output };
        browser.answer()?;
        Ok(browser)
    }

    fn ask(&mut self, command: Value) -> Result<Value> {
        writeln!(self.input, "{command}").context("the browser does not listen")?;
        self.answer().with_context(|| command.to_string())
    }

    fn answer(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.output.read_line(&mut line).context("the browser does not answer")?;
        let answer: Value = serde_json::from_str(&line).context("an answer of the browser")?;
        ensure!(answer["error"].is_null(), "{}", answer["error"]);
        Ok(answer["value"].clone())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
