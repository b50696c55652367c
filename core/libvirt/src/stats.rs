//! Counters of running domains.

use crate::raw::RawStats;
use ostler_driver::DomainMetrics;

/// Sums libvirt's counters of all devices. None for a domain that was too busy to answer: its
/// counters would fall to zero.
pub(crate) fn metrics(stats: &RawStats) -> Option<DomainMetrics> {
    let mut metrics = DomainMetrics { vm: Some(stats.vm), ..DomainMetrics::default() };
    let mut has_cpu = false;
    let (mut resident, mut ballooned) = (None, None);
    for (name, value) in &stats.fields {
        let mut parts = name.splitn(3, '.');
        match (parts.next(), parts.next(), parts.next()) {
            (Some("cpu"), Some("time"), None) => {
                metrics.cpu_ns = *value;
                has_cpu = true;
            }
            (Some("balloon"), Some("rss"), None) => resident = Some(*value),
            (Some("balloon"), Some("current"), None) => ballooned = Some(*value),
            (Some("block"), Some(_), Some("rd.bytes")) => add(&mut metrics.disk_read, *value),
            (Some("block"), Some(_), Some("wr.bytes")) => add(&mut metrics.disk_written, *value),
            (Some("net"), Some(_), Some("rx.bytes")) => add(&mut metrics.net_rx, *value),
            (Some("net"), Some(_), Some("tx.bytes")) => add(&mut metrics.net_tx, *value),
            _ => {}
        }
    }
    // The memory that the process holds is the host's real cost. If libvirt does not tell it, the
    // balloon's size is used instead.
    metrics.memory_kib = resident.or(ballooned).unwrap_or(0);
    has_cpu.then_some(metrics)
}

fn add(sum: &mut u64, value: u64) {
    *sum = sum.saturating_add(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_model::VmUuid;
    use uuid::Uuid;

    #[test]
    fn devices_are_summed_and_a_busy_domain_is_left_out() {
        let vm = VmUuid(Uuid::from_u128(1));
        let fields = [
            ("cpu.time", 5),
            ("cpu.user", 9),
            ("balloon.current", 98_304),
            ("balloon.rss", 200),
            ("block.count", 2),
            ("block.0.rd.bytes", 1),
            ("block.1.rd.bytes", 2),
            ("block.0.wr.bytes", 4),
            ("net.0.rx.bytes", 8),
            ("net.0.tx.bytes", u64::MAX),
            ("net.1.tx.bytes", 1),
        ];
        let fields: Vec<_> = fields.map(|(name, value)| (name.to_owned(), value)).into();
        let expected = DomainMetrics {
            vm: Some(vm),
            cpu_ns: 5,
            memory_kib: 200,
            disk_read: 3,
            disk_written: 4,
            net_rx: 8,
            net_tx: u64::MAX,
        };
        assert_eq!(metrics(&RawStats { vm, fields: fields.clone() }), Some(expected));
        assert_eq!(metrics(&RawStats { vm, fields: fields[1..].to_vec() }), None);
    }
}
