//! What a source knows of its tables' size and of how they change without reading their rows: what estimates are made from.

/// What a source knows of some tables. What it does not know is `None`, never a guess.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Statistics {
    /// In the order asked.
    pub tables: Vec<TableStatistics>,
    /// Commits a day that change one of the tables.
    pub commits_per_day: Option<f64>,
}

/// What a source knows of one table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TableStatistics {
    /// Its rows.
    pub rows: Option<u64>,
    /// Rows that are written or removed in a day; an update of a keyed row is one of them, and that of a row without a key two.
    pub changes_per_day: Option<f64>,
    /// Those columns of which something is known.
    pub columns: Vec<ColumnStatistics>,
}

/// What a source knows of one column.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ColumnStatistics {
    /// Its name, as in the table's schema.
    pub name: String,
    /// Bytes of a value on the average.
    pub bytes: Option<f64>,
    /// How many different values it has, or could have between the least and the greatest one.
    pub distinct: Option<f64>,
}

impl TableStatistics {
    /// What is known of a column.
    pub fn column(&self, name: &str) -> Option<&ColumnStatistics> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// The shortest time that a rate a day is told from, in days: an hour.
const SPAN_MIN: f64 = 1.0 / 24.0;

/// So many in so many days, as a rate a day; `None` where the time is too short to tell.
pub fn per_day(count: f64, days: f64) -> Option<f64> {
    (days >= SPAN_MIN).then(|| count / days)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_takes_an_hour_at_least() {
        assert_eq!(per_day(100.0, 4.0), Some(25.0));
        assert_eq!(per_day(10.0, SPAN_MIN), Some(240.0));
        assert_eq!(per_day(10.0, 0.04), None);
        assert_eq!(per_day(0.0, 2.0), Some(0.0));
    }
}
