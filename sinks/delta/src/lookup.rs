//! Which files can hold one of many rows, by their bounds.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::bounds::{Bounds, Probe, Scalar, probe};
use crate::net::Net;
use crate::shape::Shape;
use crate::table::DataFile;

/// The addresses that lose rows, each with the values of the bounded columns.
pub(crate) struct Lookup {
    /// Those with a value in the first of the columns, in its order.
    sorted: Vec<(Scalar, Vec<Probe>)>,
    /// The others.
    rest: Vec<Vec<Probe>>,
}

impl Lookup {
    pub(crate) fn new(shape: &Shape, net: &Net) -> Self {
        let columns = shape.bounded();
        Lookup::of(net.removals.values().map(|removal| {
            let (batch, row) = (&net.batches[removal.before.batch], removal.before.row);
            columns.iter().map(|column| probe(batch.column(*column), row)).collect()
        }))
    }

    /// For rows of which each has a probe for every bounded column.
    pub(crate) fn of(rows: impl Iterator<Item = Vec<Probe>>) -> Self {
        let (mut sorted, mut rest) = (Vec::new(), Vec::new());
        for probes in rows {
            match probes.first() {
                Some(Probe::Value(first)) => sorted.push((first.clone(), probes)),
                _ => rest.push(probes),
            }
        }
        sorted.sort_by(|(a, _), (b, _)| a.order(b));
        Lookup { sorted, rest }
    }

    /// The files that may hold one of the addresses.
    pub(crate) fn candidates<'a>(&self, files: &'a BTreeMap<String, DataFile>) -> Vec<(&'a str, &'a DataFile)> {
        let candidates = files.iter().filter(|(_, file)| self.may_be_in(file));
        candidates.map(|(path, file)| (path.as_str(), file)).collect()
    }

    /// Whether a file may hold one of them.
    pub(crate) fn may_be_in(&self, file: &DataFile) -> bool {
        let Some(first) = file.bounds.first() else { return true };
        let holds = |probes: &Vec<Probe>| {
            file.bounds.iter().zip(probes).all(|(bounds, probe)| bounds.may_hold(probe, file.rows))
        };
        self.in_range(first).iter().any(|(_, probes)| holds(probes)) || self.rest.iter().any(holds)
    }

    /// The addresses whose first value lies in the bounds.
    fn in_range(&self, bounds: &Bounds) -> &[(Scalar, Vec<Probe>)] {
        let place = |bound: Option<&Scalar>, order: &dyn Fn(Ordering) -> bool, none: usize| match bound {
            Some(bound) => self.sorted.partition_point(|(value, _)| order(value.order(bound))),
            None => none,
        };
        let from = place(bounds.min(), &|order| order == Ordering::Less, 0);
        let to = place(bounds.max(), &|order| order != Ordering::Greater, self.sorted.len());
        &self.sorted[from..to.max(from)]
    }
}
