//! Epochs of a process that goes on running: the first after a start reads what the later ones find in memory.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;
use tidegate_testkit::bench::median;
use tidegate_testkit::{Program, Running};

use crate::bulk::Pipeline;

/// How long an epoch may take.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(20);

/// Runs a pipeline while a source is changed so many times, each time as an epoch of its own: the engine's milliseconds of an
/// epoch in the median, without the first.
pub fn epoch_ms(pipeline: &Pipeline, rounds: u64, mut change: impl FnMut(u64)) -> f64 {
    let file = pipeline.file();
    let run = ["run", "--http", "127.0.0.1:0", &file.to_string_lossy()].map(str::to_owned);
    let mut running = Program::new(env!("CARGO_BIN_EXE_tidegate")).arguments(run).start();
    let address = loop {
        let said = running.stderr();
        let told = said.split("http://").nth(1).and_then(|rest| rest.split_once('/'));
        if let Some((address, _)) = told {
            break address.to_owned();
        }
        running = going_on(running);
    };
    for round in 0..rounds {
        change(round);
        let started = Instant::now();
        while epochs(&address).len() as u64 <= round {
            assert!(started.elapsed() < PATIENCE, "there is no epoch: {}", running.stderr());
            running = going_on(running);
        }
    }
    let mut found = epochs(&address);
    running.terminate().expect(0);
    let number = |value: &Value| value.as_f64().expect("a number");
    found.sort_by(|one, other| number(&one["epoch"]).total_cmp(&number(&other["epoch"])));
    median(found.iter().skip(1).map(|epoch| number(&epoch["phases_ms"]["step"])).collect())
}

/// The same process a moment later.
fn going_on(running: Running) -> Running {
    match running.wait_for(PAUSE) {
        Ok(ended) => panic!("the process ended: {}", ended.stderr),
        Err(running) => running,
    }
}

/// The epochs that the process has made.
fn epochs(address: &str) -> Vec<Value> {
    let mut stream = TcpStream::connect(address).expect("the process answers");
    let request = format!("GET /api/epochs?limit=600 HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("the process listens");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the process answers");
    let (_, body) = answer.split_once("\r\n\r\n").expect("an answer has a body");
    let body: Value = serde_json::from_str(body).expect("the body is JSON");
    body["epochs"].as_array().expect("there are epochs").clone()
}
