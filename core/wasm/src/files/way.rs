//! How the path of a file is resolved below the root of its datastore.

use ostler_model::RelPath;
use std::fmt;

/// A file of a datastore, and how its path is resolved.
///
/// A driver may make symbolic links below the folders of its calls, and replace files there. So a
/// link that it made must lead to nothing that its call is not about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Way {
    /// Links are followed as long as they stay in the datastore. No driver can have made the path:
    /// it is one that a call was given to read, or the whole datastore is granted.
    Free(RelPath),
    /// The last part must not be a link. A driver can have replaced it, and nothing above it.
    Itself(RelPath),
    /// `rest` must stay in `folder`, which must not be a link itself.
    Below {
        /// The folder, below the root.
        folder: RelPath,
        /// The path below the folder.
        rest: RelPath,
    },
}

impl Way {
    /// The form for the scripts at the far end. An empty part divides the folder from the rest, and
    /// no path has one.
    pub(super) fn for_script(&self) -> String {
        match self {
            Self::Free(path) => path.to_string(),
            Self::Itself(path) => format!("{path}//"),
            Self::Below { folder, rest } => format!("{folder}//{rest}"),
        }
    }
}

/// The whole path below the root.
impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Free(path) | Self::Itself(path) => write!(f, "{path}"),
            Self::Below { folder, rest } => write!(f, "{folder}/{rest}"),
        }
    }
}
