//! The options that open the jail: each says what it opens, in one line on standard error.

use crate::cli::plan::{PrivateRange, RunPlan};

/// Says what the plan opens. `is_root`: the command runs as root.
pub(super) fn announce(plan: &RunPlan, is_root: bool) {
    let lines = [as_root(plan, is_root), private(&plan.upstream.allow_private)];
    for line in lines.into_iter().flatten() {
        tracing::warn!("{line}");
    }
}

fn as_root(plan: &RunPlan, is_root: bool) -> Option<String> {
    let wished = plan.user.is_some() && is_root;
    wished.then(|| "--user opens: the command runs as root, who has more ways out".to_owned())
}

fn private(ranges: &[PrivateRange]) -> Option<String> {
    if ranges.is_empty() {
        return None;
    }
    let networks = ranges.iter().map(|range| match range {
        PrivateRange::All => None,
        PrivateRange::Net(network) => Some(network.to_string()),
    });
    let named = networks.collect::<Option<Vec<_>>>().map_or_else(
        || "all private, loopback and other special addresses".to_owned(),
        |networks| networks.join(", "),
    );
    Some(format!("--allow-private opens: allowed requests may go to {named}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_private_ranges() {
        let said = |ranges: &[&str]| {
            let ranges: Vec<_> = ranges.iter().map(|range| range.parse().unwrap()).collect();
            private(&ranges)
        };
        assert_eq!(said(&[]), None);
        let opens = "--allow-private opens: allowed requests may go to";
        let all = format!("{opens} all private, loopback and other special addresses");
        assert_eq!(said(&["10.0.0.0/8", "::1"]), Some(format!("{opens} 10.0.0.0/8, ::1/128")));
        assert_eq!(said(&["all"]), Some(all.clone()));
        assert_eq!(said(&["10.0.0.0/8", "all"]), Some(all));
    }
}
