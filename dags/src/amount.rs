//! Sizes and amounts as people write them: `512Mi`, `32Gi`, `500m`.

/// Why a text isn't an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAmount {
    /// A bare number: bytes, megabytes?
    #[error("a number alone is ambiguous: write the unit, for example `{0}Mi` or `{0}Gi`")]
    NoUnit(String),
    /// Looks like a size with another unit.
    #[error(
        "the unit `{0}` isn't known: write `Ki`, `Mi`, `Gi` or `Ti` (1024 each), or `k`, `M`, `G` or `T` (1000 each)"
    )]
    Unit(String),
    /// Not a size.
    #[error("expected a size such as `512Mi` or `32Gi`")]
    Size,
    /// Not an amount of CPU.
    #[error("expected an amount of CPUs such as `8`, `0.5` or `500m`")]
    Cpu,
    /// More than any machine has.
    #[error("is larger than any machine")]
    TooLarge,
}

const UNITS: [(&str, u64); 9] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("B", 1),
];
const BYTES_MAX: u64 = 1 << 50;
const CPU_MILLI_MAX: u64 = 1_000_000_000;

/// Reads a size: a number with up to three decimals and a unit.
pub fn bytes(text: &str) -> Result<u64, InvalidAmount> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let milli = milli(number).ok_or(InvalidAmount::Size)?;
    if unit.is_empty() {
        return Err(InvalidAmount::NoUnit(text.to_owned()));
    }
    let scale = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, scale)| *scale);
    let scale = scale.ok_or_else(|| InvalidAmount::Unit(unit.to_owned()))?;
    let total = u128::from(milli) * u128::from(scale) / 1_000;
    u64::try_from(total).ok().filter(|total| *total <= BYTES_MAX).ok_or(InvalidAmount::TooLarge)
}

/// Reads an amount of CPUs, in thousandths: `8`, `0.5`, `500m`.
pub fn cpu_milli(text: &str) -> Result<u64, InvalidAmount> {
    let text = text.trim();
    let milli = match text.strip_suffix('m') {
        Some(number) => number.parse().ok(),
        None => milli(text),
    };
    milli
        .ok_or(InvalidAmount::Cpu)
        .and_then(|n| if n <= CPU_MILLI_MAX { Ok(n) } else { Err(InvalidAmount::TooLarge) })
}

/// A size in the largest unit that keeps it whole.
pub fn show_bytes(bytes: u64) -> String {
    let unit = UNITS[..4].iter().rev().find(|(_, scale)| bytes.is_multiple_of(*scale) && bytes > 0);
    match unit {
        Some((name, scale)) => format!("{}{name}", bytes / scale),
        None => format!("{bytes}B"),
    }
}

/// A decimal number in thousandths.
fn milli(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.len() > 3 {
        return None;
    }
    if !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let thousandths = fraction.parse::<u64>().ok()? * 10_u64.pow(3 - fraction.len() as u32);
    whole.parse::<u64>().ok()?.checked_mul(1_000)?.checked_add(thousandths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_what_people_write() {
        assert_eq!(bytes("512Mi"), Ok(512 << 20));
        assert_eq!(bytes("1.5Gi"), Ok(3 << 29));
        assert_eq!(bytes("2G"), Ok(2_000_000_000));
        assert_eq!(bytes("32"), Err(InvalidAmount::NoUnit("32".into())));
        assert_eq!(bytes("32GB"), Err(InvalidAmount::Unit("GB".into())));
        assert_eq!(bytes("lots"), Err(InvalidAmount::Size));
        assert_eq!(bytes("99999999Ti"), Err(InvalidAmount::TooLarge));
        assert_eq!(cpu_milli("8"), Ok(8_000));
        assert_eq!(cpu_milli("0.5"), Ok(500));
        assert_eq!(cpu_milli("500m"), Ok(500));
        for text in ["512Mi", "3Gi", "1500B", "0B"] {
            assert_eq!(bytes(&show_bytes(bytes(text).unwrap())), bytes(text), "{text}");
        }
        for bad in ["", "-1", "1,5", "m", "1.2345", "+1"] {
            assert!(cpu_milli(bad).is_err(), "{bad}");
        }
    }
}
