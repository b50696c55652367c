//! Counts the connections of each address, so that an address that opens too many does not shut the
//! others out.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The other end of a connection, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// This machine. Its connections are not counted: it may be a proxy with many clients behind
    /// it.
    Local,
    /// An address. Of an IPv6 address only the network (64 bits) counts, because a machine can use
    /// all addresses of its network.
    At(IpAddr),
}

impl Peer {
    /// Somebody on this machine.
    pub(crate) const fn local() -> Self {
        Self::Local
    }

    /// The peer with this address.
    pub(crate) fn at(address: IpAddr) -> Self {
        match address.to_canonical() {
            address if address.is_loopback() => Self::Local,
            IpAddr::V6(address) => {
                Self::At(IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)))
            }
            address @ IpAddr::V4(_) => Self::At(address),
        }
    }
}

/// The connections of each address.
#[derive(Clone)]
pub(crate) struct Peers {
    most: usize,
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One connection that is counted, until this is dropped.
pub(crate) struct Counted(Option<(IpAddr, Peers)>);

impl Peers {
    /// At most `most` connections for each.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, counts: Arc::default() }
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // A poisoned lock is used as it is: each change is one number, so a panic leaves nothing
        // half done.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more connection. None if the address has its share already.
    pub(crate) fn enter(&self, peer: Peer) -> Option<Counted> {
        let Peer::At(address) = peer else { return Some(Counted(None)) };
        let mut counts = self.counts();
        let count = counts.entry(address).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Counted(Some((address, self.clone()))))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Some((address, peers)) = &self.0 else { return };
        let mut counts = peers.counts();
        if let Some(count) = counts.get_mut(address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Peer {
        Peer::at(text.parse().expect("an address"))
    }

    #[test]
    fn each_address_has_its_share_and_gets_it_back() {
        let peers = Peers::new(2);
        let one = peers.enter(at("192.0.2.1")).expect("a place");
        let _two = peers.enter(at("::ffff:192.0.2.1")).expect("a place");
        assert!(peers.enter(at("192.0.2.1")).is_none(), "the same address, written in two ways");
        assert!(peers.enter(at("192.0.2.2")).is_some());
        drop(one);
        assert!(peers.enter(at("192.0.2.1")).is_some());
        assert_eq!(peers.counts().len(), 1, "who is gone is not remembered");
    }

    #[test]
    fn a_machine_has_one_network_and_this_machine_is_not_counted() {
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:1"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        let peers = Peers::new(0);
        for local in ["127.0.0.1", "::1", "::ffff:127.0.0.2"] {
            assert!(peers.enter(at(local)).is_some(), "{local}");
        }
    }
}
