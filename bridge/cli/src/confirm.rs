//! Asking before something is done that cannot be taken back.

use std::io::{IsTerminal, Write};

use tidegate_core::ErrorKind;

use crate::failure::Failure;

/// Asks whether to do something, such as `bring this in force`.
pub fn is_confirmed(what: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(format!("nobody can be asked here: say --yes to {what}, or --plan to look only")));
    }
    eprint!("{what}? [y/N] ");
    let _ = std::io::stderr().flush();
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line);
    read.map_err(|error| Failure::new(ErrorKind::Retry, format!("the answer cannot be read: {error}")))?;
    Ok(matches!(line.trim().to_lowercase().as_str(), "y" | "yes"))
}
