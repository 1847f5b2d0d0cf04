//! Times as Go and the API server write them: `1h30m`, `0.5s`, `10ms`.

use std::time::Duration;

/// The time that a text stands for.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    nanoseconds(text).map(Duration::from_nanos)
}

/// Numbers with units, one after the other.
pub(crate) fn nanoseconds(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let (mut rest, mut total) = (text, 0_u64);
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let unit_end = rest[number..]
            .find(|c: char| c.is_ascii_digit())
            .map_or(rest.len(), |end| number + end);
        let scale: u64 = match &rest[number..unit_end] {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, part) = rest[..number].split_once('.').unwrap_or((&rest[..number], ""));
        let mut value = whole.parse::<u64>().ok()?.checked_mul(scale)?;
        let mut place = scale;
        for digit in part.bytes() {
            place /= 10;
            value = value.checked_add(u64::from(digit.checked_sub(b'0')?) * place)?;
        }
        total = total.checked_add(value)?;
        rest = &rest[unit_end..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_go_writes_them() {
        for (text, expected) in [
            ("1s", Some(1_000_000_000)),
            ("0.5s", Some(500_000_000)),
            ("1h30m", Some(5_400_000_000_000)),
            ("1500us", Some(1_500_000)),
            ("0s", Some(0)),
            ("0", Some(0)),
            ("1", None),
            ("s", None),
            ("1d", None),
            ("-1s", None),
            ("1.2.3s", None),
            ("", None),
        ] {
            assert_eq!(nanoseconds(text), expected, "{text}");
        }
    }
}
