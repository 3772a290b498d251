//! A headless Chromium that looks at pages, driven by Playwright in a node process: one JSON command a line.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cache;

const DRIVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/browser/driver.mjs");

/// A browser with one page, which ends when it is dropped.
pub struct Browser {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// How a page is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Screen {
    /// CSS pixels.
    pub width: u32,
    /// CSS pixels.
    pub height: u32,
    /// Whether the person prefers dark colours.
    pub dark: bool,
}

impl Screen {
    /// A laptop's.
    pub const LAPTOP: Screen = Screen { width: 1280, height: 900, dark: false };
    /// A small phone's.
    pub const PHONE: Screen = Screen { width: 360, height: 740, dark: false };

    /// The same in the dark.
    #[must_use]
    pub fn dark(self) -> Screen {
        Screen { dark: true, ..self }
    }
}

impl Browser {
    /// Starts one.
    ///
    /// # Panics
    /// When node, Playwright or Chromium is not there: `cargo xtask setup` fetches the last two.
    pub fn start() -> Browser {
        let playwright = cache::place("playwright-core-1.65.1", Path::new("package.json"));
        let chromium = cache::place("chromium-153.0.0", Path::new("chromium.br"));
        let mut child = Command::new("node")
            .arg(DRIVER)
            .args([playwright, chromium])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("'node' can be started: install Node.js 20 or newer");
        let input = child.stdin.take().expect("it is piped");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut browser = Browser { child, input, output };
        browser.answer("start");
        browser
    }

    #[track_caller]
    fn answer(&mut self, what: &str) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the browser answers");
        let answer: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{what}: {error}: {line:?}"));
        if let Some(error) = answer["error"].as_str() {
            panic!("{what}: {error}");
        }
        answer["value"].clone()
    }

    #[track_caller]
    fn ask(&mut self, command: Value) -> Value {
        writeln!(self.input, "{command}").expect("the browser listens");
        self.answer(&command.to_string())
    }

    /// Opens a page in a fresh profile.
    #[track_caller]
    pub fn open(&mut self, url: &str, screen: Screen) {
        let Screen { width, height, dark } = screen;
        self.ask(json!({ "command": "open", "url": url, "width": width, "height": height, "dark": dark }));
    }

    /// Waits until the first element that a selector finds is visible and has a text in it.
    ///
    /// # Panics
    /// When that takes longer than `time`.
    #[track_caller]
    pub fn wait(&mut self, selector: &str, text: &str, time: Duration) {
        let ms = time.as_millis() as u64;
        self.ask(json!({ "command": "wait", "selector": selector, "text": text, "ms": ms }));
    }

    /// Waits until the first element that a selector finds is not visible, or there is none.
    ///
    /// # Panics
    /// When that takes longer than `time`.
    #[track_caller]
    pub fn wait_gone(&mut self, selector: &str, time: Duration) {
        self.ask(json!({ "command": "gone", "selector": selector, "ms": time.as_millis() as u64 }));
    }

    /// The text of the first element that a selector finds.
    #[track_caller]
    pub fn text(&mut self, selector: &str) -> String {
        self.ask(json!({ "command": "text", "selector": selector })).as_str().unwrap_or_default().to_owned()
    }

    /// How many elements a selector finds.
    #[track_caller]
    pub fn count(&mut self, selector: &str) -> u64 {
        self.ask(json!({ "command": "count", "selector": selector })).as_u64().unwrap_or_default()
    }

    /// Whether the first element that a selector finds is visible.
    #[track_caller]
    pub fn is_visible(&mut self, selector: &str) -> bool {
        self.ask(json!({ "command": "visible", "selector": selector })) == true
    }

    /// Clicks the first element that a selector finds.
    #[track_caller]
    pub fn click(&mut self, selector: &str) {
        self.ask(json!({ "command": "click", "selector": selector }));
    }

    /// Writes into a field.
    #[track_caller]
    pub fn fill(&mut self, selector: &str, text: &str) {
        self.ask(json!({ "command": "fill", "selector": selector, "text": text }));
    }

    /// Presses a key, such as `Tab` or `Enter`.
    #[track_caller]
    pub fn press(&mut self, key: &str) {
        self.ask(json!({ "command": "press", "key": key }));
    }

    /// The id of the element with the focus, or its text where it has none.
    #[track_caller]
    pub fn focused(&mut self) -> String {
        self.ask(json!({ "command": "focused" })).as_str().unwrap_or_default().to_owned()
    }

    /// By how many pixels the page is wider than its window.
    #[track_caller]
    pub fn overflow(&mut self) -> i64 {
        self.ask(json!({ "command": "overflow" })).as_i64().unwrap_or_default()
    }

    /// Saves a picture of what is seen, as PNG.
    #[track_caller]
    pub fn shot(&mut self, file: &Path) {
        self.ask(json!({ "command": "shot", "path": file }));
    }

    /// Errors and warnings of the page and the console, and requests to other places, since it was opened.
    #[track_caller]
    pub fn complaints(&mut self) -> Vec<String> {
        let all = self.ask(json!({ "command": "complaints" }));
        all.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
