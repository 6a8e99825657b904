//! What a cluster can hold: what its nodes offer.

use k8s_openapi::{api::core::v1::Node, apimachinery::pkg::api::resource::Quantity};

use super::cluster::Cluster;
use crate::contract::{Capacity, Error};

/// What the nodes that take pods offer in all.
pub(super) async fn of(cluster: &Cluster, slots: u32) -> Result<Capacity, Error> {
    let mut sum = Capacity { cpu_milli: 0, memory_bytes: 0, slots };
    for node in cluster.nodes().await?.iter().filter(|node| takes_pods(node)) {
        let Some(allocatable) = node.status.as_ref().and_then(|status| status.allocatable.as_ref()) else {
            continue;
        };
        let amount = |name: &str| allocatable.get(name).and_then(milli).unwrap_or(0);
        sum.cpu_milli = sum.cpu_milli.saturating_add(u64::try_from(amount("cpu")).unwrap_or(u64::MAX));
        let memory = u64::try_from(amount("memory") / 1000).unwrap_or(u64::MAX);
        sum.memory_bytes = sum.memory_bytes.saturating_add(memory);
    }
    Ok(sum)
}

fn takes_pods(node: &Node) -> bool {
    let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let mut ready = conditions.into_iter().flatten().filter(|condition| condition.type_ == "Ready");
    !cordoned && ready.any(|condition| condition.status == "True")
}

/// Thousandths of a quantity; none if it isn't one.
pub(super) fn milli(quantity: &Quantity) -> Option<u128> {
    let text = quantity.0.as_str();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    // Thousandths, so that halves are whole numbers.
    let factor: u128 = match suffix {
        "m" => 1,
        "" => 1_000,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "T" => 1_000_000_000_000_000,
        "P" => 1_000_000_000_000_000_000,
        "Ki" => 1_000 << 10,
        "Mi" => 1_000 << 20,
        "Gi" => 1_000 << 30,
        "Ti" => 1_000 << 40,
        "Pi" => 1_000 << 50,
        _ => return None,
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let whole = whole.parse::<u128>().ok()?.checked_mul(factor)?;
    if part.is_empty() {
        return Some(whole);
    }
    let scale = 10_u128.checked_pow(u32::try_from(part.len()).ok()?)?;
    whole.checked_add(part.parse::<u128>().ok()?.checked_mul(factor)? / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        for (text, expected) in [
            ("2", Some(2_000)),
            ("1930m", Some(1_930)),
            ("0.5", Some(500)),
            ("16Gi", Some(16_000 << 30)),
            ("24652084Ki", Some(24_652_084_000 << 10)),
            ("1.5Gi", Some(1_500 << 30)),
            ("128e6", None),
            ("", None),
            ("much", None),
        ] {
            assert_eq!(milli(&Quantity(text.to_owned())), expected, "{text}");
        }
    }
}
