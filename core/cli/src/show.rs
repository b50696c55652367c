//! Pages with sections, which show everything about one thing.

use crate::table::{self, Cell, Tone};
use crate::text::clean;
use std::fmt::Write as _;

/// Builds a page.
pub(crate) struct Page {
    text: String,
    pairs: Vec<(String, Cell)>,
    colour: bool,
}

impl Page {
    /// An empty page.
    pub(crate) const fn new(colour: bool) -> Self {
        Self { text: String::new(), pairs: Vec::new(), colour }
    }

    /// Begins a section. The title is printed in capitals.
    pub(crate) fn section(&mut self, title: &str) -> &mut Self {
        self.headed(title, "")
    }

    /// Begins a section with a name after the title. The name is printed as it is written.
    pub(crate) fn headed(&mut self, title: &str, name: &str) -> &mut Self {
        self.flush();
        let name = if name.is_empty() { String::new() } else { format!(" {}", clean(name)) };
        let gap = if self.text.is_empty() { "" } else { "\n" };
        let (on, off) = if self.colour { ("\u{1b}[1m", "\u{1b}[0m") } else { ("", "") };
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{gap}{on}{}{name}{off}", title.to_uppercase());
        self
    }

    /// A line of the form `what   value`.
    pub(crate) fn pair(&mut self, what: &str, value: impl Into<Cell>) -> &mut Self {
        self.pairs.push((what.to_owned(), value.into()));
        self
    }

    /// The same line, if there is a value.
    pub(crate) fn pair_if(&mut self, what: &str, value: Option<impl ToString>) -> &mut Self {
        if let Some(value) = value {
            self.pair(what, Cell::toned(value, Tone::Plain));
        }
        self
    }

    /// A state in its colour.
    pub(crate) fn state(&mut self, what: &str, word: &str) -> &mut Self {
        self.pair(what, Cell::state(word))
    }

    /// A table. `none` is printed instead if there are no rows.
    pub(crate) fn table(
        &mut self,
        headings: &[&str],
        rows: Vec<Vec<Cell>>,
        none: &str,
    ) -> &mut Self {
        self.flush();
        if rows.is_empty() {
            return self.line(none);
        }
        let table = table::render(headings, rows, self.colour);
        self.indented(&table)
    }

    /// A line of text.
    pub(crate) fn line(&mut self, text: &str) -> &mut Self {
        self.flush();
        let text = clean(text);
        self.indented(&text)
    }

    /// A text of several lines.
    pub(crate) fn block(&mut self, text: &str) -> &mut Self {
        self.flush();
        let lines: Vec<String> = text.lines().map(clean).collect();
        self.indented(&lines.join("\n"))
    }

    fn indented(&mut self, text: &str) -> &mut Self {
        for line in text.lines() {
            let _ = writeln!(self.text, "  {line}");
        }
        self
    }

    fn flush(&mut self) {
        if self.pairs.is_empty() {
            return;
        }
        let rows = std::mem::take(&mut self.pairs)
            .into_iter()
            .map(|(what, cell)| vec![Cell::from(what), cell])
            .collect();
        let table = table::bare(2, rows, self.colour);
        self.indented(&table);
    }

    /// The page.
    pub(crate) fn done(mut self) -> String {
        self.flush();
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn a_page_has_sections() {
        let mut page = Page::new(false);
        page.section("Information")
            .pair("ID", 7)
            .pair("Name", "web")
            .pair_if("Host", None::<String>)
            .state("State", "running");
        page.section("Disks").table(
            &["NAME", "FILE"],
            vec![vec![Cell::from("vda"), Cell::from("disk-0")]],
            "none",
        );
        page.section("NICs").table(&["BRIDGE"], Vec::new(), "none");
        page.section("User data").block("a\nb\u{7}");
        expect![[r#"
            INFORMATION
              ID     7
              Name   web
              State  running

            DISKS
              NAME  FILE
              vda   disk-0

            NICS
              none

            USER DATA
              a
              b�
        "#]]
        .assert_eq(&page.done());
    }
}
