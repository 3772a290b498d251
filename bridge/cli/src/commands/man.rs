//! `tidegate man`: the manual page, of the command and everything it does.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use tidegate_core::ErrorKind;

use crate::arguments::Arguments;
use crate::failure::Failure;

/// What the exit codes mean.
pub const EXIT_CODES: [(&str, &str); 4] = [
    ("0", "Done."),
    ("1", "Failed; another try may help."),
    ("2", "Wrong usage or configuration."),
    ("3", "Stopped to protect data: the message says what a person must decide."),
];

/// Writes it to the standard output.
pub fn man() -> Result<(), Failure> {
    let mut page = Vec::new();
    let failed =
        |error: io::Error| Failure::new(ErrorKind::Retry, format!("the manual page cannot be written: {error}"));
    write(&mut page).map_err(failed)?;
    // A reader that went away is no error.
    let _ = io::stdout().write_all(&page);
    Ok(())
}

fn write(page: &mut Vec<u8>) -> io::Result<()> {
    let mut command = Arguments::command();
    command.build();
    let main = Man::new(command.clone()).section("1");
    main.render_title(page)?;
    main.render_name_section(page)?;
    main.render_synopsis_section(page)?;
    main.render_options_section(page)?;
    let mut roff = Roff::new();
    roff.control("SH", ["COMMANDS"]);
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        roff.control("SS", [verb.get_name()]);
        roff.text([roman(verb.get_about().map(ToString::to_string).unwrap_or_default() + ".")]);
        for argument in verb.get_arguments().filter(|argument| !argument.is_global_set() && argument.get_id() != "help")
        {
            roff.control("TP", []);
            roff.text([bold(argument.to_string())]);
            let default: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
            let default = match default.is_empty() || argument.get_num_args().is_some_and(|count| !count.takes_values())
            {
                true => String::new(),
                false => format!(" (default: {})", default.join(" ")),
            };
            roff.text([roman(argument.get_help().map(ToString::to_string).unwrap_or_default() + &default)]);
        }
    }
    roff.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in EXIT_CODES {
        roff.control("TP", []);
        roff.text([bold(code)]);
        roff.text([roman(meaning)]);
    }
    roff.to_writer(page)
}
