//! Medians, and numbers as people read them.

/// The median of some measurements, if there are any.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = sorted.get(middle).copied()?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    sorted.get(middle - 1).map(|lower| f64::midpoint(*lower, upper))
}

/// A number with three digits that count.
pub(super) fn brief(value: f64) -> String {
    match value {
        v if v >= 100_000.0 => format!("{:.0}k", v / 1000.0),
        v if v >= 10_000.0 => format!("{:.1}k", v / 1000.0),
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_or_between_the_middle_two() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn numbers_are_short() {
        let briefs = [0.123, 12.34, 999.6, 4171.0, 45_678.0, 128_000.0].map(brief);
        assert_eq!(briefs, ["0.12", "12.3", "1000", "4171", "45.7k", "128k"]);
    }
}
