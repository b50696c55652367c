//! Tables with plain columns and no lines, which people and `awk` can read.

use crate::text::clean;
use comfy_table::{Attribute, Color, ContentArrangement, Table, presets};

/// The number of blanks between two columns.
const GAP: u16 = 2;

/// The meaning of a cell. It chooses the colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// No special meaning.
    Plain,
    /// In order.
    Good,
    /// In progress.
    Busy,
    /// Not in order.
    Bad,
    /// At rest.
    Quiet,
}

/// A cell of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A cell with this tone.
    pub(crate) fn toned(text: impl ToString, tone: Tone) -> Self {
        Self { text: clean(&text.to_string()), tone }
    }

    /// A state in its colour. Words from later daemons stay plain.
    pub(crate) fn state(word: &str) -> Self {
        Self::toned(word, tone_of(word))
    }

    /// A value that may be missing. Then the cell is `-`.
    pub(crate) fn maybe(text: Option<impl ToString>) -> Self {
        text.map_or_else(|| Self::from("-"), |text| Self::toned(text, Tone::Plain))
    }
}

impl<T: ToString> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::toned(text, Tone::Plain)
    }
}

/// The tone of a state, an outcome or a health.
pub(crate) fn tone_of(word: &str) -> Tone {
    match word {
        "running" | "on" | "ready" | "succeeded" | "yes" | "ok" => Tone::Good,
        "failed" | "unknown" | "error" | "no" | "off" => Tone::Bad,
        "hold" | "stopped" | "suspended" | "poweroff" | "undeployed" | "done" | "superseded" => {
            Tone::Quiet
        }
        "pending" | "prolog" | "boot" | "migrate" | "hotplug" | "snapshot" | "save" | "epilog"
        | "shutdown" | "draining" | "locked" => Tone::Busy,
        _ => Tone::Plain,
    }
}

const fn colour_of(tone: Tone) -> Option<Color> {
    match tone {
        Tone::Plain => None,
        Tone::Good => Some(Color::Green),
        Tone::Busy => Some(Color::Yellow),
        Tone::Bad => Some(Color::Red),
        Tone::Quiet => Some(Color::Blue),
    }
}

/// A table without headings. Columns are only as wide as their content.
pub(crate) fn bare(columns: usize, rows: Vec<Vec<Cell>>, colour: bool) -> String {
    let text = render(&vec![""; columns], rows, colour);
    // `render` prints empty headings as an empty first line, which is removed here.
    text.split_once('\n').map_or(String::new(), |(_, rows)| rows.to_owned())
}

/// The table as text. It ends with a line feed.
pub(crate) fn render(headings: &[&str], rows: Vec<Vec<Cell>>, colour: bool) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header(headings.iter().map(|heading| {
        let cell = comfy_table::Cell::new(heading);
        if colour { cell.add_attribute(Attribute::Bold) } else { cell }
    }));
    for row in rows {
        table.add_row(row.into_iter().map(|cell| {
            let plain = comfy_table::Cell::new(&cell.text);
            match colour_of(cell.tone).filter(|_| colour) {
                Some(shade) => plain.fg(shade),
                None => plain,
            }
        }));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
    }
    let mut text =
        table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn sample(colour: bool) -> String {
        let rows = vec![
            vec![
                Cell::from(7),
                Cell::from("web"),
                Cell::state("running"),
                Cell::maybe(Some("alpha")),
            ],
            vec![
                Cell::from(12),
                Cell::from("a\u{1b}[31m\nb"),
                Cell::state("failed"),
                Cell::maybe(None::<String>),
            ],
        ];
        render(&["ID", "NAME", "STATE", "HOST"], rows, colour)
    }

    #[test]
    fn columns_stand_below_each_other() {
        expect![[r#"
            ID  NAME      STATE    HOST
            7   web       running  alpha
            12  a�[31m b  failed   -
        "#]]
        .assert_eq(&sample(false));
    }

    #[test]
    fn colours_only_where_wanted() {
        assert!(!sample(false).contains('\u{1b}'));
        let coloured = sample(true);
        assert!(coloured.contains("\u{1b}[") && coloured.contains("running"), "{coloured:?}");
    }

    #[test]
    fn an_empty_table_is_its_headings() {
        assert_eq!(render(&["ID", "NAME"], Vec::new(), false), "ID  NAME\n");
    }
}
