//! The view of the bench as circuits typed by hand in DBSP.
//!
//! [`as_in_sql`] answers what the view answers, types included: BIGINT columns that may be NULL, sums that are
//! HUGEINT and NULL where nothing was summed, as DBSP's own example of an SQL-style sum has them (the test of
//! `aggregate_linear_postprocess`). [`of_plain_integers`] takes 64 bits without NULLs for all of them, which is no
//! answer to the SQL; it says what rows as narrow as they could be would take.

use dbsp::trace::{BatchReader, Cursor};
use dbsp::typed_batch::SpineSnapshot;
use dbsp::utils::{Tup2, Tup3};
use dbsp::{DBData, DBSPHandle, OrdZSet, OutputHandle, RootCircuit, Runtime};

use crate::{events, users};

/// A circuit with a worker of its own.
pub struct Circuit {
    dbsp: DBSPHandle,
    feed: Box<dyn FnMut(i64, i64)>,
    changed: Box<dyn Fn() -> usize>,
}

impl Circuit {
    /// Events `from..to` are there.
    pub fn feed(&mut self, from: i64, to: i64) {
        (self.feed)(from, to);
    }

    /// A transaction; answers how many rows of the view it changed, old and new ones.
    pub fn step(&mut self) -> usize {
        self.dbsp.transaction().expect("the circuit by hand steps");
        (self.changed)()
    }
}

type Id = Option<i64>;

/// SQL's types and SQL's NULL.
pub fn as_in_sql() -> Circuit {
    let (dbsp, (events_in, users_in, output)) = Runtime::init_circuit(1, |circuit: &mut RootCircuit| {
        let (events, events_in) = circuit.add_input_zset::<Tup3<Id, Id, Option<i64>>>();
        let (users, users_in) = circuit.add_input_zset::<Tup2<Id, Id>>();
        let per_user = events.map_index(|Tup3(_, user, amount)| (*user, *amount)).aggregate_linear_postprocess(
            |amount| Tup3(1i64, i64::from(amount.is_some()), i128::from(amount.unwrap_or(0))),
            |Tup3(events, counted, sum)| Tup2(events, (counted > 0).then_some(sum)),
        );
        let users = users.filter(|Tup2(id, _)| id.is_some()).map_index(|Tup2(id, region)| (*id, *region));
        let per_region = per_user
            .join_index(&users, |_, totals, region| Some((*region, *totals)))
            .aggregate_linear_postprocess(
                |Tup2(events, amount)| Tup3(i128::from(*events), i64::from(amount.is_some()), amount.unwrap_or(0)),
                |Tup3(events, counted, amount)| Tup2(events, (counted > 0).then_some(amount)),
            )
            .map(|(region, Tup2(events, amount))| Tup3(*region, *events, *amount));
        per_region.accumulate_integrate_trace();
        Ok((events_in, users_in, per_region.accumulate_output()))
    })
    .expect("the circuit by hand starts");
    let [ids, regions] = users();
    users_in
        .append(&mut ids.into_iter().zip(regions).map(|(id, region)| Tup2(Tup2(Some(id), Some(region)), 1)).collect());
    let feed = move |from, to| {
        let [ids, users, amounts] = events(from, to);
        let rows = ids.into_iter().zip(users).zip(amounts);
        let rows = rows.map(|((id, user), amount)| Tup2(Tup3(Some(id), Some(user), Some(amount)), 1));
        events_in.append(&mut rows.collect());
    };
    Circuit { dbsp, feed: Box::new(feed), changed: Box::new(move || changed(&output)) }
}

/// 64 bits and no NULLs.
pub fn of_plain_integers() -> Circuit {
    let (dbsp, (events_in, users_in, output)) = Runtime::init_circuit(1, |circuit: &mut RootCircuit| {
        let (events, events_in) = circuit.add_input_zset::<Tup3<i64, i64, i64>>();
        let (users, users_in) = circuit.add_input_zset::<Tup2<i64, i64>>();
        let per_user =
            events.map_index(|Tup3(_, user, amount)| (*user, *amount)).aggregate_linear(|amount| Tup2(1i64, *amount));
        let users = users.map_index(|Tup2(id, region)| (*id, *region));
        let per_region = per_user
            .join_index(&users, |_, totals, region| Some((*region, *totals)))
            .aggregate_linear(|totals| *totals)
            .map(|(region, Tup2(events, amount))| Tup3(*region, *events, *amount));
        per_region.accumulate_integrate_trace();
        Ok((events_in, users_in, per_region.accumulate_output()))
    })
    .expect("the circuit by hand starts");
    let [ids, regions] = users();
    users_in.append(&mut ids.into_iter().zip(regions).map(|(id, region)| Tup2(Tup2(id, region), 1)).collect());
    let feed = move |from, to| {
        let [ids, users, amounts] = events(from, to);
        let rows = ids.into_iter().zip(users).zip(amounts);
        events_in.append(&mut rows.map(|((id, user), amount)| Tup2(Tup3(id, user, amount), 1)).collect());
    };
    Circuit { dbsp, feed: Box::new(feed), changed: Box::new(move || changed(&output)) }
}

fn changed<T: DBData>(output: &OutputHandle<SpineSnapshot<OrdZSet<T>>>) -> usize {
    let delta = output.concat();
    let mut cursor = delta.cursor();
    let mut rows = 0;
    while cursor.key_valid() {
        rows += usize::from(**cursor.weight() != 0);
        cursor.step_key();
    }
    rows
}
