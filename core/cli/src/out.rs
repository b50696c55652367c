//! Standard output: its format, and whether it has colours.

use crate::Failure;
use crate::table::{self, Cell};
use clap::ValueEnum;
use serde::Serialize;
use std::io::{IsTerminal, Write};

/// Prints a line beside the result, to standard error. An error in writing is ignored: the command
/// was already done, so its result must still be printed.
pub(crate) fn aside(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// The format of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// For people, with more columns
    Wide,
    /// As the API says it
    Json,
    /// The same as YAML
    Yaml,
    /// The name or id that other commands take, one per line: ids of VMs, names of the rest
    Name,
}

/// Something that can be a row of a table.
pub(crate) trait Row: Serialize {
    /// The headings.
    const HEADINGS: &'static [&'static str];
    /// Headings that only `-o wide` shows; their cells come last.
    const WIDER: &'static [&'static str];
    /// One cell for each heading.
    fn cells(&self) -> Vec<Cell>;
    /// The name or id that other commands take.
    fn handle(&self) -> String;
}

/// Something that a VM has, with the id of that VM.
#[derive(Debug, Serialize)]
struct Of<'a, T> {
    vm: u64,
    #[serde(flatten)]
    one: &'a T,
}

/// Standard output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Out {
    /// The format.
    pub(crate) format: Format,
    /// Whether to print colours.
    pub(crate) colour: bool,
    /// Whether standard output is a terminal.
    pub(crate) terminal: bool,
    /// Whether tables begin with a line of headings.
    pub(crate) headings: bool,
}

impl Out {
    /// Standard output as the environment has it.
    pub(crate) fn new(format: Format, headings: bool) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self { format, colour: terminal && !no_colour && !dumb, terminal, headings }
    }

    /// Whether the format is one for people.
    pub(crate) const fn for_people(self) -> bool {
        matches!(self.format, Format::Table | Format::Wide)
    }

    /// Writes a text and flushes.
    pub(crate) fn write(self, text: &str) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    }

    /// Writes a line.
    pub(crate) fn line(self, text: &str) -> Result<(), Failure> {
        self.write(&format!("{text}\n"))
    }

    /// Several things in the chosen format.
    pub(crate) fn rows<T: Row>(self, items: &[T]) -> Result<String, Failure> {
        match self.format {
            Format::Json => json(&items),
            Format::Yaml => yaml(&items),
            Format::Name => Ok(items.iter().map(|item| item.handle() + "\n").collect()),
            Format::Table | Format::Wide => {
                Ok(self.table(T::HEADINGS, T::WIDER, items.iter().map(Row::cells).collect()))
            }
        }
    }

    /// A table. `wider` are the headings of the last cells. Only `-o wide` shows these.
    fn table(self, headings: &[&str], wider: &[&str], mut rows: Vec<Vec<Cell>>) -> String {
        let headings = if self.format == Format::Wide {
            [headings, wider].concat()
        } else {
            headings.to_vec()
        };
        rows.iter_mut().for_each(|cells| cells.truncate(headings.len()));
        if self.headings {
            table::render(&headings, rows, self.colour)
        } else {
            table::bare(headings.len(), rows, self.colour)
        }
    }

    /// Several things of several VMs in the chosen format. The first column is the VM's id.
    pub(crate) fn rows_of<T: Row>(self, items: &[(u64, Vec<T>)]) -> Result<String, Failure> {
        let all = || items.iter().flat_map(|(vm, list)| list.iter().map(|one| Of { vm: *vm, one }));
        match self.format {
            Format::Json => json(&all().collect::<Vec<_>>()),
            Format::Yaml => yaml(&all().collect::<Vec<_>>()),
            Format::Name => Ok(all().map(|of| of.one.handle() + "\n").collect()),
            Format::Table | Format::Wide => {
                let rows =
                    all().map(|of| [vec![Cell::from(of.vm)], of.one.cells()].concat()).collect();
                Ok(self.table(&[&["VM"], T::HEADINGS].concat(), T::WIDER, rows))
            }
        }
    }

    /// One thing in the chosen format. `page` makes the text for people.
    pub(crate) fn one<T: Serialize>(
        self,
        item: &T,
        handle: &str,
        page: impl FnOnce() -> String,
    ) -> Result<String, Failure> {
        match self.format {
            Format::Json => json(item),
            Format::Yaml => yaml(item),
            Format::Name => Ok(format!("{handle}\n")),
            Format::Table | Format::Wide => Ok(page()),
        }
    }
}

/// As JSON on several lines.
pub(crate) fn json<T: Serialize>(value: &T) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(|err| odd(&err))
}

/// As JSON on one line.
pub(crate) fn json_line<T: Serialize>(value: &T) -> Result<String, Failure> {
    serde_json::to_string(value).map(|text| text + "\n").map_err(|err| odd(&err))
}

/// As YAML.
pub(crate) fn yaml<T: Serialize>(value: &T) -> Result<String, Failure> {
    serde_yaml_ng::to_string(value).map_err(|err| odd(&err))
}

fn odd(err: &dyn std::error::Error) -> Failure {
    Failure::new(crate::Exit::Server, format!("the answer cannot be written: {err}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_api::{Image, Time};

    fn out(format: Format) -> Out {
        Out { format, colour: false, terminal: false, headings: true }
    }

    fn images() -> [Image; 1] {
        [Image {
            id: 3,
            name: "debian".to_owned(),
            path: "images:debian.qcow2".to_owned(),
            format: "qcow2".to_owned(),
            state: "ready".to_owned(),
            size: None,
            used_by: 2,
            added: Time(0),
            notes: Vec::new(),
        }]
    }

    #[test]
    fn every_format_says_the_same() {
        let render = |format| out(format).rows(&images()).expect("printable");
        assert_eq!(render(Format::Name), "debian\n");
        assert!(
            render(Format::Table).starts_with("ID  NAME    STATE"),
            "{}",
            render(Format::Table)
        );
        assert!(!render(Format::Table).contains("ADDED"));
        assert!(render(Format::Wide).contains("ADDED"));
        let bare =
            Out { headings: false, ..out(Format::Table) }.rows(&images()).expect("printable");
        assert_eq!(bare, "3  debian  ready  qcow2     2  images:debian.qcow2\n");
        let json: Vec<Image> = serde_json::from_str(&render(Format::Json)).expect("JSON");
        let yaml: Vec<Image> = serde_yaml_ng::from_str(&render(Format::Yaml)).expect("YAML");
        assert_eq!((json.as_slice(), yaml.as_slice()), (images().as_slice(), images().as_slice()));
    }
}
