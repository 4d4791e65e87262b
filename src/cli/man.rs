//! `pgtide man`: the manual page, on stdout.

use std::io::{self, Write};

use super::{Context, help};
use crate::exit::{DONE, EXIT_CODES};

pub(super) fn run(context: &Context) -> anyhow::Result<u8> {
    context.output.print(&String::from_utf8_lossy(&page()?));
    Ok(DONE)
}

/// One page for all verbs; clap_mangen's own section of them names pages that do not exist.
fn page() -> io::Result<Vec<u8>> {
    let command = help::command();
    let man = clap_mangen::Man::new(command.clone());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    writeln!(page, ".SH COMMANDS\nEach has its own help: \\fBpgtide help\\fR \\fICOMMAND\\fR.")?;
    for verb in command.get_subcommands() {
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        writeln!(page, ".TP\n\\fBpgtide {}\\fR\n{}", verb.get_name(), roff(&about))?;
    }
    man.render_options_section(&mut page)?;
    writeln!(page, ".SH \"EXIT STATUS\"")?;
    for (code, name, meaning) in EXIT_CODES {
        writeln!(page, ".TP\n\\fB{code}\\fR\n{name}: {}", roff(meaning))?;
    }
    man.render_version_section(&mut page)?;
    Ok(page)
}

/// Escapes what roff would read as its own.
fn roff(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_verb_and_every_exit_code() {
        let page = String::from_utf8(page().unwrap()).unwrap();
        for verb in help::command().get_subcommands() {
            assert!(page.contains(&format!("\\fBpgtide {}\\fR\n", verb.get_name())));
        }
        for (code, _, _) in EXIT_CODES {
            assert!(page.contains(&format!(".TP\n\\fB{code}\\fR\n")));
        }
    }
}
