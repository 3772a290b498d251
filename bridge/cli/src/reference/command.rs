//! Every subcommand with its arguments, as clap has them.

use clap::{Arg, Command, CommandFactory};

use super::{WRITTEN, code, hold, table};
use crate::arguments::Arguments;
use crate::commands::man::EXIT_CODES;

/// An argument as one types it.
fn typed(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    let values: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    match (argument.get_long(), argument.get_num_args().is_some_and(|count| count.takes_values())) {
        (Some(long), true) => code(format!("--{long} {}", values.join(" "))),
        (Some(long), false) => code(format!("--{long}")),
        (None, _) if argument.is_required_set() => code(values.join(" ")),
        (None, _) => code(format!("[{}]", values.join(" "))),
    }
}

/// What it means, what it may be, and what counts without it.
fn meaning(argument: &Arg) -> String {
    let mut text = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let takes_values = argument.get_num_args().is_some_and(|count| count.takes_values());
    let values: Vec<String> = argument.get_possible_values().iter().map(|value| code(value.get_name())).collect();
    if takes_values && !values.is_empty() {
        text += &format!(": {}", values.join(", "));
    }
    let default: Vec<String> =
        argument.get_default_values().iter().map(|value| code(value.to_string_lossy())).collect();
    if takes_values && !default.is_empty() {
        text += &format!("; {} by default", default.join(" "));
    }
    text
}

fn rows(command: &Command, global: bool) -> Vec<Vec<String>> {
    let shown =
        |argument: &&Arg| argument.is_global_set() == global && argument.get_id() != "help" && !argument.is_hide_set();
    command.get_arguments().filter(shown).map(|argument| vec![typed(argument), meaning(argument)]).collect()
}

#[test]
fn the_page_of_the_command() {
    let mut command = Arguments::command();
    command.build();
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let mut page = format!(
        "# The command\n\n{WRITTEN}{about}. `tidegate help COMMAND` says the same in a terminal, and `tidegate man` is the manual page.\n\n\
         With every command:\n\n"
    );
    let mut global = rows(&command, true);
    global.extend(rows(&command, false));
    page += &table(&["option", "meaning"], global);
    page += "\nThe exit code says what became of it:\n\n";
    page +=
        &table(&["exit code", "meaning"], EXIT_CODES.map(|(code, meaning)| vec![code.to_owned(), meaning.to_owned()]));
    page += "\n[Errors](errors.md) has what is said then.\n";
    for verb in command.get_subcommands_mut().filter(|verb| verb.get_name() != "help") {
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        let usage = verb.render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ");
        page += &format!("\n## {}\n\n{about}.\n\n```text\n{usage}\n```\n", verb.get_name());
        let rows = rows(verb, false);
        if !rows.is_empty() {
            page += &format!("\n{}", table(&["argument", "meaning"], rows));
        }
    }
    hold("command.md", &page);
}
