//! Reads the head of a disk's file: its format, and the other files that it names.
//!
//! A tool like `qemu-img` opens each file that a disk names. The name may be any file of the host,
//! a device or a network address. So a driver must read the head itself before it runs such a tool
//! on a file that somebody else made. This module does no IO: the driver passes the bytes.

/// How many bytes from the beginning of a file [`read`] needs. For all disks that `qemu-img` makes
/// with its default clusters, these bytes hold the header, its extensions and the name of the
/// backing file.
pub const HEAD: usize = 64 * 1024;

/// The first bytes of a qcow2 file.
const MAGIC: &[u8] = b"QFI\xfb";
/// The length of a header of version 2. A header of version 3 holds its own length.
const LENGTH_V2: usize = 72;
/// The shortest header of version 3.
const LENGTH_V3: u32 = 104;
/// Incompatible feature: the guest's data is in another file.
const FEATURE_DATA_FILE: u64 = 1 << 2;
/// Header extension: the format of the backing file.
const EXTENSION_BACKING_FORMAT: u32 = 0xe279_2aca;
/// Header extension: the name of the data file.
const EXTENSION_DATA_FILE: u32 = 0x4441_5441;
/// Clusters have 512 bytes to 2 MiB.
const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=21;
/// Used instead of a name that cannot be read.
const UNREADABLE: &str = "a name that cannot be read";
const CUT: &str = "it is cut off within its header";

/// The marks of other formats: offset, bytes, format. Formats whose mark may also be a guest's own
/// bytes are left out.
const MARKS: [(usize, &[u8], &str); 13] = [
    (0, b"KDMV", "vmdk"),
    (0, b"COWD", "vmdk"),
    (0, b"# Disk DescriptorFile", "vmdk"),
    (0x40, b"\x7f\x10\xda\xbe", "vdi"),
    (0, b"vhdxfile", "vhdx"),
    (0, b"conectix", "vpc"),
    (0, b"QED\0", "qed"),
    (0, b"WithoutFreeSpace", "parallels"),
    (0, b"WithouFreSpacExt", "parallels"),
    (0, b"\x1f\x8b\x08", "gzip"),
    (0, b"\xfd7zXZ\0", "xz"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"BZh9", "bzip2"),
];

/// The content of a file, as its first bytes show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A qcow2 disk.
    Qcow2(Header),
    /// It begins like a qcow2 disk but cannot be one. Holds the reason, for people.
    Broken(&'static str),
    /// Another format, by the word that `qemu-img` uses for it, or compressed data.
    Other(&'static str),
    /// No known format: the bytes of a raw disk.
    Raw,
}

impl Content {
    /// The format in a word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Qcow2(_) | Self::Broken(_) => "qcow2",
            Self::Other(word) => word,
            Self::Raw => "raw",
        }
    }
}

/// The parts of a qcow2 header that decide whether the file can be trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header {
    /// The size that a guest sees, in bytes.
    pub virtual_size: u64,
    /// The file below the disk, as written in the header: a path, or anything else that QEMU
    /// accepts as a disk.
    pub backing: Option<String>,
    /// The format of the file below the disk, if the header has it.
    pub backing_format: Option<String>,
    /// The file that holds the guest's data, if that is another file.
    pub data_file: Option<String>,
    /// Whether the disk cannot be read without a key.
    pub encrypted: bool,
    /// The smallest possible size of the file. A smaller file was cut off.
    pub least_size: u64,
}

impl Header {
    /// The other files that the disk names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.backing.as_deref().into_iter().chain(self.data_file.as_deref())
    }

    /// A name that an overlay on an image never has: a file for its data, or a file below it whose
    /// name is not a plain absolute path (`json:`, a network address, a path with `..` or with
    /// control characters).
    #[must_use]
    pub fn odd_name(&self) -> Option<&str> {
        // QEMU reads a name only up to its first NUL.
        let plain = |name: &str| {
            name.starts_with('/')
                && !name.split('/').any(|part| part == "..")
                && !name.contains(char::is_control)
        };
        self.data_file.as_deref().or_else(|| self.backing.as_deref().filter(|name| !plain(name)))
    }
}

/// Reads the head of a file. `head` must hold its first [`HEAD`] bytes, or all bytes of a shorter
/// file.
#[must_use]
pub fn read(head: &[u8]) -> Content {
    let marked = |(at, mark, _): &&(usize, &[u8], &str)| {
        head.get(*at..).is_some_and(|rest| rest.starts_with(mark))
    };
    if let Some((_, _, word)) = MARKS.iter().find(marked) {
        return Content::Other(word);
    }
    if !head.starts_with(MAGIC) {
        return Content::Raw;
    }
    match be32(head, 4) {
        Some(1) => Content::Other("qcow"),
        Some(version @ 2..=3) => header(head, version).map_or_else(Content::Broken, Content::Qcow2),
        Some(_) => Content::Broken("its version is none that is known"),
        None => Content::Broken(CUT),
    }
}

fn header(head: &[u8], version: u32) -> Result<Header, &'static str> {
    let word = |at| be32(head, at).ok_or(CUT);
    let long = |at| be64(head, at).ok_or(CUT);
    let cluster_bits = word(20)?;
    if !CLUSTER_BITS.contains(&cluster_bits) {
        return Err("the size of its clusters cannot be");
    }
    let (length, features) = match version {
        2 => (LENGTH_V2, 0),
        _ if word(100)? < LENGTH_V3 => return Err("its header is too short"),
        _ => (word(100)? as usize, long(72)?),
    };
    let cluster = 1 << cluster_bits;
    if length > cluster {
        return Err("its header is longer than a cluster");
    }
    let (backing_at, backing_length) = (long(8)?, word(16)?);
    // The extensions end where the name of the backing file begins.
    let end = usize::try_from(backing_at)
        .ok()
        .filter(|at| *at != 0)
        .map_or(cluster, |at| at.min(cluster));
    let extensions = extensions(head.get(..end).unwrap_or(head), length);
    let extension = |wanted| only(&extensions, wanted);
    let has_backing = backing_at != 0 && backing_length != 0;
    let has_data_file = features & FEATURE_DATA_FILE != 0;
    let first_table = long(40)?.saturating_add(u64::from(word(36)?).saturating_mul(8));
    Ok(Header {
        virtual_size: long(24)?,
        backing: has_backing.then(|| name(head, backing_at, backing_length)),
        backing_format: extension(EXTENSION_BACKING_FORMAT)?,
        data_file: extension(EXTENSION_DATA_FILE)?
            .or_else(|| Some(UNREADABLE.to_owned()))
            .filter(|_| has_data_file),
        encrypted: word(32)? != 0,
        least_size: first_table.max(long(48)?),
    })
}

/// The text of the extension of that kind. Two of a kind are refused, because readers differ in
/// which of them they use.
fn only(extensions: &[(u32, String)], wanted: u32) -> Result<Option<String>, &'static str> {
    let mut found =
        extensions.iter().filter(|(kind, _)| *kind == wanted).map(|(_, text)| text.clone());
    let first = found.next();
    if found.next().is_some() { Err("a header extension is there twice") } else { Ok(first) }
}

/// The header extensions that can be read, as pairs of kind and text.
fn extensions(cluster: &[u8], mut at: usize) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    while let (Some(kind), Some(length)) = (be32(cluster, at), be32(cluster, at + 4)) {
        let (from, length) = (at + 8, length as usize);
        let Some(data) = cluster.get(from..from.saturating_add(length)) else { break };
        if kind == 0 {
            break;
        }
        found.push((kind, String::from_utf8_lossy(data).into_owned()));
        at = from + length.next_multiple_of(8);
    }
    found
}

fn name(head: &[u8], at: u64, length: u32) -> String {
    let text =
        usize::try_from(at).ok().and_then(|at| head.get(at..at.checked_add(length as usize)?));
    text.map_or_else(|| UNREADABLE.to_owned(), |text| String::from_utf8_lossy(text).into_owned())
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_be_bytes)
}

fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at.checked_add(8)?)?.try_into().ok().map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header of version 3 with clusters of 64 KiB, 5 MiB large.
    fn plain() -> Vec<u8> {
        let mut head = vec![0; 1024];
        let mut put = |at: usize, bytes: &[u8]| head[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, MAGIC);
        put(4, &3_u32.to_be_bytes());
        put(20, &16_u32.to_be_bytes());
        put(24, &(5_u64 << 20).to_be_bytes());
        put(36, &1_u32.to_be_bytes());
        put(40, &0x30000_u64.to_be_bytes());
        put(48, &0x10000_u64.to_be_bytes());
        put(100, &104_u32.to_be_bytes());
        head
    }

    fn with(changes: &[(usize, &[u8])]) -> Content {
        let mut head = plain();
        for (at, bytes) in changes {
            head[*at..*at + bytes.len()].copy_from_slice(bytes);
        }
        read(&head)
    }

    fn header_of(content: Content) -> Header {
        let Content::Qcow2(header) = content else { panic!("{content:?}") };
        header
    }

    #[test]
    fn a_disk_that_stands_alone() {
        let header = header_of(read(&plain()));
        let expected = Header { virtual_size: 5 << 20, least_size: 0x30008, ..Header::default() };
        assert_eq!(header, expected);
        assert_eq!(header.names().count(), 0);
    }

    #[test]
    fn the_names_of_other_files_are_found() {
        let backing = [
            (8, &512_u64.to_be_bytes()[..]),
            (16, &11_u32.to_be_bytes()[..]),
            (512, &b"/etc/shadow"[..]),
        ];
        assert_eq!(header_of(with(&backing)).backing.as_deref(), Some("/etc/shadow"));
        // A name that lies beyond the head counts as a name that cannot be read.
        let far = [(8, &(1_u64 << 20).to_be_bytes()[..]), (16, &11_u32.to_be_bytes()[..])];
        assert_eq!(header_of(with(&far)).backing.as_deref(), Some(UNREADABLE));
        let format = [
            (104, &EXTENSION_BACKING_FORMAT.to_be_bytes()[..]),
            (108, &3_u32.to_be_bytes()[..]),
            (112, &b"raw"[..]),
        ];
        assert_eq!(header_of(with(&format)).backing_format.as_deref(), Some("raw"));
        let feature = (72, &FEATURE_DATA_FILE.to_be_bytes()[..]);
        assert_eq!(header_of(with(&[feature])).data_file.as_deref(), Some(UNREADABLE));
        let named = [
            feature,
            (104, &EXTENSION_BACKING_FORMAT.to_be_bytes()[..]),
            (108, &3_u32.to_be_bytes()[..]),
            (112, &b"raw"[..]),
            (120, &EXTENSION_DATA_FILE.to_be_bytes()[..]),
            (124, &8_u32.to_be_bytes()[..]),
            (128, &b"/dev/sda"[..]),
        ];
        assert_eq!(header_of(with(&named)).names().collect::<Vec<_>>(), ["/dev/sda"]);
    }

    #[test]
    fn a_disk_is_read_as_qemu_reads_it() {
        let (kind, length) = (EXTENSION_BACKING_FORMAT.to_be_bytes(), 3_u32.to_be_bytes());
        let raw = [(104, &kind[..]), (108, &length[..]), (112, &b"raw"[..])];
        // QEMU uses the last of two.
        let again = [(120, &kind[..]), (124, &length[..]), (128, &b"qed"[..])];
        assert!(matches!(with(&[raw, again].concat()), Content::Broken(_)));
        // Nothing is read behind the beginning of the backing file's name.
        let named = [(8, &120_u64.to_be_bytes()[..]), (16, &11_u32.to_be_bytes()[..])];
        let header = header_of(with(&[&named[..], &raw[..], &again[..]].concat()));
        assert_eq!(header.backing_format.as_deref(), Some("raw"));
        let named = [(8, &104_u64.to_be_bytes()[..]), (16, &11_u32.to_be_bytes()[..])];
        assert_eq!(header_of(with(&[&named[..], &raw[..]].concat())).backing_format, None);
        // A header cannot be longer than its cluster. The length must not overflow 32 bits either.
        for length in [0x1_0008_u32, u32::MAX - 3, u32::MAX] {
            assert!(
                matches!(with(&[(100, &length.to_be_bytes())]), Content::Broken(_)),
                "{length}"
            );
        }
    }

    #[test]
    fn only_plain_paths_are_not_odd() {
        let below = |name: &str| Header { backing: Some(name.to_owned()), ..Header::default() };
        assert_eq!(below("/srv/images/a b,c.qcow2").odd_name(), None);
        for odd in [
            "json:{}",
            "nbd:localhost:10809",
            "base.qcow2",
            "",
            "/srv/images/../../etc/shadow",
            "/etc/shadow\0.qcow2",
        ] {
            assert_eq!(below(odd).odd_name(), Some(odd));
        }
        let data = Header { data_file: Some("/srv/data".to_owned()), ..Header::default() };
        assert_eq!(data.odd_name(), Some("/srv/data"));
    }

    #[test]
    fn what_cannot_be_is_broken_and_nothing_panics() {
        assert!(matches!(with(&[(4, &9_u32.to_be_bytes())]), Content::Broken(_)));
        assert!(matches!(with(&[(20, &63_u32.to_be_bytes())]), Content::Broken(_)));
        assert!(matches!(with(&[(100, &8_u32.to_be_bytes())]), Content::Broken(_)));
        for length in 0..plain().len() {
            let _ = read(&plain()[..length]);
        }
        for at in 0..160 {
            let _ = with(&[(at, &[0xff; 8])]);
        }
    }

    #[test]
    fn formats_are_told_apart() {
        assert_eq!(with(&[(4, &1_u32.to_be_bytes())]).word(), "qcow");
        assert_eq!(read(b"").word(), "raw");
        assert_eq!(read(b"KDMV....").word(), "vmdk");
        assert_eq!(read(b"\xfd7zXZ\0...").word(), "xz");
        assert_eq!(read(&[0; 512]).word(), "raw");
        assert_eq!(read(&plain()).word(), "qcow2");
    }
}
