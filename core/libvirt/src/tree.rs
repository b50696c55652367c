//! A small XML tree for documents that libvirt wrote, and that we read or change in a few places.

use quick_xml::events::{BytesEnd, BytesStart, BytesText, Event};
use quick_xml::{Reader, Writer, XmlVersion};

/// The deepest nesting that is read. libvirt's documents have about ten levels (long backing chains
/// more).
const DEPTH_MAX: usize = 200;

/// The reason why a document cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TreeError {
    /// Not well formed.
    #[error("not well formed: {0}")]
    Malformed(String),
    /// No root, or several.
    #[error("not one element")]
    NotOne,
    /// Too deep.
    #[error("nested more than {DEPTH_MAX} deep")]
    TooDeep,
}

/// An element.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Node {
    /// Its name, with prefix.
    pub(crate) name: String,
    /// Its attributes, in order.
    pub(crate) attrs: Vec<(String, String)>,
    /// Its contents.
    pub(crate) inside: Vec<Piece>,
}

/// One piece of an element's contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// An element.
    Node(Node),
    /// Text.
    Text(String),
}

impl Node {
    /// Reads a document; comments and declarations are left out.
    pub(crate) fn parse(xml: &str) -> Result<Self, TreeError> {
        let mut reader = Reader::from_str(xml);
        let mut open: Vec<Self> = vec![Self::default()];
        loop {
            match reader.read_event().map_err(malformed)? {
                Event::Start(start) => {
                    if open.len() > DEPTH_MAX {
                        return Err(TreeError::TooDeep);
                    }
                    open.push(Self::begun(&start)?);
                }
                Event::Empty(start) => push(&mut open, Piece::Node(Self::begun(&start)?)),
                Event::End(_) => {
                    let node = open.pop().ok_or(TreeError::NotOne)?;
                    push(&mut open, Piece::Node(node));
                }
                Event::Text(text) => {
                    push(&mut open, Piece::Text(text.xml10_content().into_owned()))
                }
                Event::CData(text) => {
                    push(&mut open, Piece::Text(text.xml10_content().into_owned()))
                }
                Event::GeneralRef(name) => push(&mut open, Piece::Text(resolve(&name)?)),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
                Event::Eof => break,
            }
        }
        match (open.pop(), open.is_empty()) {
            (Some(document), true) => document.into_nodes().next().ok_or(TreeError::NotOne),
            (Some(_) | None, _) => Err(TreeError::NotOne),
        }
    }

    fn begun(start: &BytesStart<'_>) -> Result<Self, TreeError> {
        let name = start.name().as_ref().to_owned();
        let mut attrs = Vec::new();
        for attribute in start.attributes() {
            let attribute = attribute.map_err(malformed)?;
            let key = attribute.key.as_ref().to_owned();
            let value = attribute
                .normalized_value(XmlVersion::Explicit1_0)
                .map_err(malformed)?
                .into_owned();
            attrs.push((key, value));
        }
        Ok(Self { name, attrs, inside: Vec::new() })
    }

    /// Writes the document.
    pub(crate) fn write(&self) -> Result<String, TreeError> {
        let mut writer = Writer::new(Vec::new());
        self.write_to(&mut writer)?;
        String::from_utf8(writer.into_inner()).map_err(malformed)
    }

    fn write_to(&self, writer: &mut Writer<Vec<u8>>) -> Result<(), TreeError> {
        let mut start = BytesStart::new(self.name.as_str());
        for (key, value) in &self.attrs {
            start.push_attribute((key.as_str(), value.as_str()));
        }
        if self.inside.is_empty() {
            return writer.write_event(Event::Empty(start)).map_err(malformed);
        }
        writer.write_event(Event::Start(start)).map_err(malformed)?;
        for piece in &self.inside {
            match piece {
                Piece::Node(node) => node.write_to(writer)?,
                Piece::Text(text) => {
                    writer.write_event(Event::Text(BytesText::new(text))).map_err(malformed)?
                }
            }
        }
        writer.write_event(Event::End(BytesEnd::new(self.name.as_str()))).map_err(malformed)
    }

    fn into_nodes(self) -> impl Iterator<Item = Self> {
        self.inside
            .into_iter()
            .filter_map(|piece| if let Piece::Node(node) = piece { Some(node) } else { None })
    }

    /// The elements inside.
    pub(crate) fn children(&self) -> impl Iterator<Item = &Self> {
        self.inside
            .iter()
            .filter_map(|piece| if let Piece::Node(node) = piece { Some(node) } else { None })
    }

    /// The elements inside, to be changed.
    pub(crate) fn children_mut(&mut self) -> impl Iterator<Item = &mut Self> {
        self.inside
            .iter_mut()
            .filter_map(|piece| if let Piece::Node(node) = piece { Some(node) } else { None })
    }

    /// The first element of that name inside.
    pub(crate) fn child(&self, name: &str) -> Option<&Self> {
        self.children().find(|node| node.name == name)
    }

    /// The first element of that name inside, made if it is not there.
    pub(crate) fn child_or_new(&mut self, name: &str) -> &mut Self {
        let found = self
            .inside
            .iter()
            .position(|piece| matches!(piece, Piece::Node(node) if node.name == name));
        let at = found.unwrap_or_else(|| {
            self.inside.push(Piece::Node(Self { name: name.to_owned(), ..Self::default() }));
            self.inside.len() - 1
        });
        match &mut self.inside[at] {
            Piece::Node(node) => node,
            Piece::Text(_) => unreachable!("the position is an element's"),
        }
    }

    /// Removes the elements inside for which `gone` is true.
    pub(crate) fn drop_children(&mut self, gone: impl Fn(&Self) -> bool) {
        self.inside.retain(|piece| !matches!(piece, Piece::Node(node) if gone(node)));
    }

    /// An attribute.
    pub(crate) fn attr(&self, key: &str) -> Option<&str> {
        self.attrs.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Sets an attribute.
    pub(crate) fn set_attr(&mut self, key: &str, value: &str) {
        match self.attrs.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => value.clone_into(old),
            None => self.attrs.push((key.to_owned(), value.to_owned())),
        }
    }

    /// The text directly inside.
    pub(crate) fn text(&self) -> String {
        self.inside
            .iter()
            .filter_map(
                |piece| if let Piece::Text(text) = piece { Some(text.as_str()) } else { None },
            )
            .collect()
    }

    /// Replaces all that is inside by a text.
    pub(crate) fn set_text(&mut self, text: &str) {
        self.inside = vec![Piece::Text(text.to_owned())];
    }
}

fn push(open: &mut [Node], piece: Piece) {
    if let Some(node) = open.last_mut() {
        node.inside.push(piece);
    }
}

/// Resolves `&lt;` and the other predefined entities, and numbers like `&#10;`. XML without a
/// document type has no others.
fn resolve(name: &quick_xml::events::BytesRef<'_>) -> Result<String, TreeError> {
    if let Some(character) = name.resolve_char_ref().map_err(malformed)? {
        return Ok(character.to_string());
    }
    let name: &str = name;
    let text = quick_xml::escape::resolve_predefined_entity(name);
    text.map(str::to_owned).ok_or_else(|| TreeError::Malformed(format!("unknown entity {name}")))
}

fn malformed(error: impl std::fmt::Display) -> TreeError {
    TreeError::Malformed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_again() {
        let xml =
            "<a x=\"1 &amp; &lt;2\" n:y=\"'\"><b/>text &lt;&amp;&gt; more<c><d e=\"f\"/></c></a>";
        let tree = Node::parse(xml).expect("reads");
        assert_eq!(tree.attr("x"), Some("1 & <2"));
        assert_eq!(tree.text(), "text <&> more");
        let again = Node::parse(&tree.write().expect("writes")).expect("reads again");
        assert_eq!((again.text(), again.attrs), (tree.text(), tree.attrs));
    }

    #[test]
    fn what_is_no_document_is_an_error() {
        for bad in ["", "text", "<a>", "</a>", "<a></b>", "<a>&nope;</a>", "<a x=1/>"] {
            assert!(Node::parse(bad).is_err(), "{bad}");
        }
        assert!(matches!(Node::parse(&"<a>".repeat(DEPTH_MAX + 5)), Err(TreeError::TooDeep)));
    }
}
