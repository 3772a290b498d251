//! A page that shows what the last commits waited for, and is drawn anew every second. It needs no more of HTTP than a line.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::histogram::draw;
use crate::stages::REACHED;
use crate::writer::{Recent, lock};

/// How long a browser, or the pipeline, may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Serves the page until the program is stopped.
pub fn serve(address: &str, recent: Arc<Mutex<Recent>>, status: &str) -> Result<()> {
    let listener = TcpListener::bind(address).with_context(|| format!("{address} cannot be listened on"))?;
    println!("the page is at http://{address}/");
    for stream in listener.incoming() {
        // A browser that goes away, and a pipeline that is not there yet, are no reason to end.
        if let Err(error) = stream.map_err(anyhow::Error::from).and_then(|stream| answer(stream, &recent, status)) {
            eprintln!("{error:#}");
        }
    }
    Ok(())
}

fn answer(mut stream: TcpStream, recent: &Mutex<Recent>, status: &str) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut asked = String::new();
    reader.read_line(&mut asked)?;
    // Closing with something unread would take the answer back.
    let mut line = String::new();
    while reader.read_line(&mut line)? > "\r\n".len() {
        line.clear();
    }
    let (kind, body) = match asked.split(' ').nth(1) {
        Some("/") => ("text/html", html(&text(recent, status)?)),
        Some("/text") => ("text/plain", text(recent, status)?),
        _ => return Ok(write!(stream, "HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n")?),
    };
    write!(
        stream,
        "HTTP/1.0 200 OK\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    Ok(())
}

fn html(text: &str) -> String {
    format!(
        "<!doctype html><meta charset=utf-8><meta http-equiv=refresh content=1><title>What a row waits for</title>\
         <style>:root {{ color-scheme: light dark }} body {{ font: 14px/1.2 monospace; margin: 2em }}</style><pre>{text}</pre>"
    )
}

/// The histograms.
fn text(recent: &Mutex<Recent>, status: &str) -> Result<String> {
    let waited = lock(recent).waited()?;
    let engine = draw("the engine alone: the view is stepped", steps(status).unwrap_or_default());
    let ways = REACHED.iter().enumerate().map(|(place, reached)| {
        let times = waited.iter().map(|waited| waited.since_commit[place]).collect();
        draw(&format!("from the return of the commit, until {reached}"), times)
    });
    Ok([engine].into_iter().chain(ways).collect::<Vec<_>>().join("\n"))
}

/// What the step of each of the last epochs took, in milliseconds, as the pipeline's API tells.
fn steps(status: &str) -> Result<Vec<f64>> {
    let epochs: Value = serde_json::from_str(&get(status, "/api/epochs?limit=300")?)?;
    let epochs = epochs["epochs"].as_array().context("the API lists epochs")?;
    Ok(epochs.iter().filter_map(|epoch| epoch["phases_ms"]["step"].as_f64()).collect())
}

/// What a server answers.
pub fn get(address: &str, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("{address} does not answer"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").with_context(|| format!("{address} does not answer in HTTP"))?;
    Ok(body.to_owned())
}
