//! The accumulator: exact whatever the order, empty after retraction, compared with big integers.

use dbsp::algebra::{AddAssignByRef, AddByRef, HasZero, MulByRef};
use dbsp::utils::Tup2;
use dbsp::{DBWeight, IndexedZSetReader, OrdIndexedZSet, Runtime, ZWeight};
use num_bigint::BigInt;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rkyv::ser::Serializer;
use rkyv::ser::serializers::AllocSerializer;
use rkyv::{Deserialize, Infallible, archived_root};
use tidegate_engine_row::{Accumulator, Row, RowError};

use crate::arrays::{float, int};
use crate::for_each_seed;

/// A row's weight, integer and float.
type Event = (ZWeight, i128, f64);

fn weigh((weight, integer, float): &Event) -> Accumulator {
    let mut accumulator = Accumulator::new();
    accumulator.add_int(0, 1);
    accumulator.add_int(1, *integer);
    accumulator.add_float(2, *float);
    accumulator.add_float(3, -*float);
    accumulator.mul_by_ref(weight)
}

fn events(rng: &mut StdRng) -> Vec<Event> {
    let finite = rng.random_range(0..4) > 0;
    let scale = rng.random_range(-1070..1020);
    (0..rng.random_range(0..40))
        .map(|_| {
            let any = match rng.random_range(0..3) {
                0 => float(rng),
                // Values of near magnitudes, so that much cancels.
                _ => (rng.random::<f64>() - 0.5) * 2f64.powi(scale / 2) * 2f64.powi(scale / 2),
            };
            let float = if finite && !any.is_finite() { 1.0 } else { any };
            (rng.random_range(-3..4), int(rng, 128), float)
        })
        .collect()
}

/// Adds in a random order and in random groups, as batches are merged.
fn sum(rng: &mut StdRng, events: &[Event]) -> Accumulator {
    let mut parts: Vec<Accumulator> = events.iter().map(weigh).collect();
    parts.shuffle(rng);
    while parts.len() > 1 {
        let right = parts.swap_remove(rng.random_range(0..parts.len()));
        let place = rng.random_range(0..parts.len());
        parts[place] = parts[place].add_by_ref(&right);
    }
    parts.pop().unwrap_or_default()
}

/// The value in units of 2^−1074; infinity as the next power of two would be.
fn units(value: f64) -> BigInt {
    let bits = value.abs().to_bits();
    let (exponent, fraction) = (bits >> 52, bits & ((1 << 52) - 1));
    let integer =
        if exponent == 0 { BigInt::from(fraction) } else { BigInt::from(fraction | 1 << 52) << (exponent - 1) };
    if value < 0.0 { -integer } else { integer }
}

/// Checks that no float is nearer to `sum`, and that a tie went to the even one.
fn assert_nearest(sum: &BigInt, found: f64) {
    let distance = |value: f64| {
        let difference = sum - units(value);
        if difference < BigInt::ZERO { -difference } else { difference }
    };
    for neighbour in [found.next_up(), found.next_down()] {
        let (here, there) = (distance(found), distance(neighbour));
        assert!(here < there || here == there && found.to_bits() & 1 == 0, "{found:e} is not nearest");
    }
}

#[test]
fn sums_are_exact_in_any_order() {
    for_each_seed(300, |rng| {
        let events = events(rng);
        let total = sum(rng, &events);
        assert_eq!(total, sum(rng, &events));
        assert_eq!(total.count(0).unwrap(), events.iter().map(|(weight, ..)| weight).sum::<ZWeight>());
        let integer: BigInt = events.iter().map(|(weight, integer, _)| BigInt::from(*weight) * integer).sum();
        match total.int(1) {
            Ok(found) => assert_eq!(BigInt::from(found), integer),
            Err(RowError::SumOverflow) => assert!(i128::try_from(integer).is_err()),
            Err(other) => panic!("{other}"),
        }
        if events.iter().all(|(_, _, float)| float.is_finite()) {
            let exact: BigInt = events.iter().map(|(weight, _, float)| BigInt::from(*weight) * units(*float)).sum();
            let found = total.float(2).unwrap();
            assert_nearest(&exact, found);
            assert_eq!(total.float(3).unwrap(), -found);
        }
    });
}

#[test]
fn retraction_leaves_nothing() {
    for_each_seed(200, |rng| {
        let mut events = events(rng);
        let retracted: Vec<Event> = events.iter().map(|(weight, i, f)| (-weight, *i, *f)).collect();
        events.extend(retracted);
        let total = sum(rng, &events);
        assert!(total.is_zero());
        assert_eq!(total, Accumulator::new());
    });
}

#[test]
fn infinities_and_nan_come_and_go() {
    let of = |values: &[(f64, ZWeight)]| {
        let mut total = Accumulator::new();
        for (value, weight) in values {
            let mut one = Accumulator::new();
            one.add_float(0, *value);
            total.add_assign_by_ref(&one.mul_by_ref(weight));
        }
        total.float(0).unwrap()
    };
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    assert_eq!(of(&[(inf, 1), (1.0, 1)]), inf);
    assert_eq!(of(&[(-inf, 2), (1.0, 1)]), -inf);
    assert!(of(&[(inf, 1), (-inf, 1)]).is_nan());
    assert!(of(&[(nan, 1), (inf, 1)]).is_nan());
    assert_eq!(of(&[(nan, 1), (inf, 1), (2.5, 1), (nan, -1), (inf, -1)]), 2.5);
    assert_eq!(of(&[(f64::MAX, 2)]), inf);
    assert_eq!(of(&[(f64::MAX, 2), (f64::MAX, -1)]), f64::MAX);
    assert_eq!(of(&[(1e300, 1), (1.0, 1), (1e300, -1)]), 1.0);
    assert!(of(&[(-0.0, 1)]).is_sign_positive());
}

#[test]
fn overflow_is_told_and_passes() {
    let mut total = Accumulator::new();
    total.add_int(0, i128::MAX);
    assert_eq!(total.int(0).unwrap(), i128::MAX);
    total.add_int(0, 1);
    assert!(matches!(total.int(0), Err(RowError::SumOverflow)));
    total.add_int(0, -1);
    assert_eq!(total.int(0).unwrap(), i128::MAX);
    total.add_int(0, i128::MIN);
    total.add_int(0, i128::MIN);
    assert!(total.int(0).is_err());
    total.add_int(0, i128::MAX);
    assert_eq!(total.int(0).unwrap(), -2);
    assert!(total.mul_by_ref(&ZWeight::MAX).count(0).is_err());
    let lost = (0..4).fold(total, |total, _| total.mul_by_ref(&ZWeight::MAX));
    assert!(lost.int(0).is_err());
    assert!(lost.add_by_ref(&lost.mul_by_ref(&-1)).int(0).is_err(), "a lost sum stays lost");
}

#[test]
fn archived_accumulators_come_back() {
    for_each_seed(50, |rng| {
        let first = events(rng);
        let second = events(rng);
        let totals = [sum(rng, &first), sum(rng, &second), Accumulator::new()];
        let files = totals.each_ref().map(|total| {
            let mut serializer = AllocSerializer::<256>::default();
            serializer.serialize_value(total).unwrap();
            serializer.into_serializer().into_inner()
        });
        // SAFETY: the bytes were just written as accumulators.
        let archived = files.each_ref().map(|file| unsafe { archived_root::<Accumulator>(file) });
        for (left, total) in archived.iter().zip(&totals) {
            let back: Accumulator = Deserialize::<Accumulator, _>::deserialize(*left, &mut Infallible).unwrap();
            assert_eq!(&back, total);
            for (right, other) in archived.iter().zip(&totals) {
                assert_eq!(left.cmp(right), total.cmp(other));
            }
        }
    });
}

#[test]
fn accumulators_are_weights_of_a_circuit() {
    fn is_weight<T: DBWeight>() {}
    is_weight::<Accumulator>();
    let (mut circuit, (input, output)) = Runtime::init_circuit(2, |circuit| {
        let (rows, input) = circuit.add_input_indexed_zset::<Row, Row>();
        let sums = rows.aggregate_linear_postprocess(
            |row| {
                let mut accumulator = Accumulator::new();
                accumulator.add_int(0, 1);
                accumulator.add_float(1, f64::from_bits(row.as_words()[0]));
                accumulator
            },
            |total| Row::from_words(&[total.count(0).unwrap() as u64, total.float(1).unwrap().to_bits()]),
        );
        Ok((input, sums.accumulate_output()))
    })
    .unwrap();
    let key = Row::from_words(&[7]);
    let mut step = |changes: &[(f64, ZWeight)]| {
        for (value, weight) in changes {
            let row = Row::from_words(&[value.to_bits()]);
            input.append(&mut vec![Tup2(key.clone(), Tup2(row, *weight))]);
        }
        circuit.transaction().unwrap();
        let delta: OrdIndexedZSet<Row, Row> = output.concat().consolidate();
        let mut rows: Vec<(u64, f64, ZWeight)> = delta
            .iter()
            .map(|(_, row, weight)| (row.as_words()[0], f64::from_bits(row.as_words()[1]), weight))
            .collect();
        rows.sort_by(|left, right| left.partial_cmp(right).unwrap());
        rows
    };
    assert_eq!(step(&[(1e300, 1), (0.1, 1)]), [(2, 1e300, 1)]);
    assert_eq!(step(&[(1e300, -1)]), [(1, 0.1, 1), (2, 1e300, -1)]);
    assert_eq!(step(&[(0.1, -1)]), [(1, 0.1, -1)]);
}
