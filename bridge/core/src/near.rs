//! Near matches, for messages about names that are not known.

/// The candidates that a slip of the fingers could have turned into `name`, the nearest first;
/// letter case does not count.
pub fn near_matches<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted = name.to_lowercase();
    let mut near: Vec<(usize, &str)> = candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&wanted, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.chars().count() / 4)
        .collect();
    near.sort_unstable();
    near.dedup();
    near.into_iter().map(|(_, candidate)| candidate).collect()
}

/// ``; did you mean `x`?`` with the nearest candidate, or nothing when none is near.
pub fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    near_matches(name, candidates).first().map_or_else(String::new, |nearest| format!("; did you mean `{nearest}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_names_only() {
        let keys = ["catalog", "data_path", "poll_interval"];
        assert_eq!(did_you_mean("pol_interval", keys), "; did you mean `poll_interval`?");
        assert_eq!(did_you_mean("Catalgo", keys), "; did you mean `catalog`?");
        assert_eq!(did_you_mean("colour", keys), "");
        assert_eq!(did_you_mean("x", []), "");
        assert_eq!(near_matches("amout", ["amounts", "id", "amount", "at"]), ["amount", "amounts"]);
    }
}
