//! Reads the domains of the `sim` hosts, which are files.

use crate::HOSTS;
use std::collections::BTreeMap;
use std::path::Path;

/// The domains of the `sim` hosts: UUID -> (host, power), one entry per file.
pub(crate) fn domains(dir: &Path) -> BTreeMap<String, Vec<(String, String)>> {
    let mut found: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for host in HOSTS {
        for entry in std::fs::read_dir(dir.join("simhosts").join(host)).expect("a folder").flatten()
        {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(uuid) = name.strip_suffix(".json") else { continue };
            let text = std::fs::read_to_string(entry.path()).expect("a domain's file");
            let domain: serde_json::Value = serde_json::from_str(&text).expect("a domain");
            // A guest that was told to power off counts as off from that moment. Its file says so
            // only after the next write.
            let off = domain["off-at-ms"].as_u64().is_some_and(|off| off <= now_ms());
            let power =
                if off { "off" } else { domain["power"].as_str().unwrap_or("?") }.to_owned();
            found.entry(uuid.to_owned()).or_default().push((host.to_owned(), power));
        }
    }
    found
}

fn now_ms() -> u64 {
    let since =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_millis()).expect("before the year 500 million")
}
