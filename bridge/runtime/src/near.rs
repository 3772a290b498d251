//! Near matches for names that are not known.

/// `; did you mean "x"?`, or nothing when no candidate is close.
pub(crate) fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    let wanted = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (distance(&wanted, &candidate.to_lowercase()), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= 1 + candidate.chars().count() / 4)
        .map_or_else(String::new, |(_, candidate)| format!("; did you mean {candidate}?"))
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_names_only() {
        assert_eq!(did_you_mean("oders", ["orders", "customers"]), "; did you mean orders?");
        assert_eq!(did_you_mean("Orders", ["orders"]), "; did you mean orders?");
        assert_eq!(did_you_mean("lineitem", ["orders", "customers"]), "");
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
