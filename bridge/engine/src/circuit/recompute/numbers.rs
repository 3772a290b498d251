//! Statistics of DOUBLEs, by DuckDB's own algorithms, value after value: the answer is, to the bit,
//! one that DuckDB gives when it reads the rows in our order.

use tidegate_engine_sql::{Regression, Spread};

use super::Fault;

/// The product; `None` of nothing.
pub(super) fn product(values: impl Iterator<Item = f64>) -> Option<f64> {
    values.fold(None, |product, value| Some(product.unwrap_or(1.0) * value))
}

/// Welford's algorithm.
#[derive(Default)]
struct Welford {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Welford {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let mean = self.mean + (value - self.mean) / self.count;
        self.squares += (value - mean) * (value - self.mean);
        self.mean = mean;
    }

    fn variance(&self) -> Result<f64, Fault> {
        finite(if self.count > 1.0 { self.squares / self.count } else { 0.0 })
    }
}

#[derive(Default)]
struct Covariance {
    count: f64,
    mean_x: f64,
    mean_y: f64,
    moment: f64,
}

impl Covariance {
    fn add(&mut self, y: f64, x: f64) {
        self.count += 1.0;
        let from_x = x - self.mean_x;
        self.mean_x += from_x / self.count;
        self.mean_y += (y - self.mean_y) / self.count;
        self.moment += from_x * (y - self.mean_y);
    }
}

fn finite(value: f64) -> Result<f64, Fault> {
    if value.is_finite() { Ok(value) } else { Err(Fault::Range) }
}

/// A statistic of one variable.
pub(super) fn spread(which: Spread, values: impl Iterator<Item = f64>) -> Result<Option<f64>, Fault> {
    let least = match which {
        Spread::StddevSamp | Spread::VarSamp | Spread::KurtosisPop => 2,
        Spread::StddevPop | Spread::VarPop | Spread::Sem => 1,
        Spread::Skewness => 3,
        Spread::Kurtosis => 4,
    };
    match which {
        Spread::Skewness | Spread::Kurtosis | Spread::KurtosisPop => powers(which, least, values),
        _ => {
            let mut sums = Welford::default();
            values.for_each(|value| sums.add(value));
            if sums.count < f64::from(least) {
                return Ok(None);
            }
            let sample = || finite(sums.squares / (sums.count - 1.0));
            Ok(Some(match which {
                Spread::StddevSamp => sample()?.sqrt(),
                Spread::VarSamp => sample()?,
                Spread::StddevPop => sums.variance()?.sqrt(),
                // Unlike a variance it is computed of a single value, too, which may be no number.
                Spread::Sem => finite((sums.squares / sums.count).sqrt() / sums.count.sqrt())?,
                _ => sums.variance()?,
            }))
        }
    }
}

/// Third and fourth moments, from sums of powers.
fn powers(which: Spread, least: u8, values: impl Iterator<Item = f64>) -> Result<Option<f64>, Fault> {
    let (mut n, mut sum, mut squares, mut cubes, mut fourths) = (0.0f64, 0.0f64, 0.0f64, 0.0f64, 0.0f64);
    for value in values {
        n += 1.0;
        sum += value;
        squares += value.powf(2.0);
        cubes += value.powf(3.0);
        fourths += value.powf(4.0);
    }
    if n < f64::from(least) {
        return Ok(None);
    }
    let share = 1.0 / n;
    if which == Spread::Skewness {
        let power = (share * (squares - sum * sum * share)).powf(3.0);
        let divisor = if power < 0.0 { 0.0 } else { power }.sqrt();
        if divisor == 0.0 {
            return Ok(Some(f64::NAN));
        }
        let correction = (n * (n - 1.0)).sqrt() / (n - 2.0);
        let moment = cubes - 3.0 * squares * sum * share + 2.0 * sum.powf(3.0) * share * share;
        return finite(correction * share * moment / divisor).map(Some);
    }
    if squares - sum * sum * share == 0.0 {
        return Ok(None);
    }
    let fourth = share
        * (fourths - 4.0 * cubes * sum * share + 6.0 * squares * sum * sum * share * share
            - 3.0 * sum.powf(4.0) * share.powf(3.0));
    let second = share * (squares - sum * sum * share);
    if second <= 0.0 {
        return Ok(None);
    }
    let kurtosis = if which == Spread::Kurtosis {
        (n - 1.0) * ((n + 1.0) * fourth / (second * second) - 3.0 * (n - 1.0)) / ((n - 2.0) * (n - 3.0))
    } else {
        fourth / (second * second) - 3.0
    };
    finite(kurtosis).map(Some)
}

/// A statistic of pairs (y, x).
pub(super) fn regression(which: Regression, pairs: impl Iterator<Item = (f64, f64)>) -> Result<Option<f64>, Fault> {
    let (mut both, mut xs, mut ys) = (Covariance::default(), Welford::default(), Welford::default());
    let (mut sum_x, mut sum_y) = (0.0, 0.0);
    for (y, x) in pairs {
        both.add(y, x);
        xs.add(x);
        ys.add(y);
        sum_x += x;
        sum_y += y;
    }
    let n = both.count;
    if n == 0.0 || which == Regression::CovarSamp && n < 2.0 {
        return Ok(None);
    }
    let slope = || {
        let variance = xs.variance()?;
        Ok::<_, Fault>(if variance == 0.0 { f64::NAN } else { both.moment / n / variance })
    };
    let corr = || {
        let product = xs.variance()?.sqrt() * ys.variance()?.sqrt();
        Ok::<_, Fault>(if product == 0.0 { f64::NAN } else { finite(both.moment / n / product)? })
    };
    Ok(match which {
        // DuckDB looks at variances only; a covariance may be infinite or NaN.
        Regression::CovarPop => Some(both.moment / n),
        Regression::CovarSamp => Some(both.moment / (n - 1.0)),
        Regression::Corr => Some(corr()?),
        Regression::AvgX => Some(sum_x / n),
        Regression::AvgY => Some(sum_y / n),
        Regression::Count => Some(n),
        Regression::Slope => Some(slope()?),
        Regression::Intercept => {
            let slope = slope()?;
            (!slope.is_nan()).then(|| sum_y / n - slope * (sum_x / n))
        }
        Regression::R2 if xs.variance()? == 0.0 => None,
        Regression::R2 if ys.variance()? == 0.0 => Some(1.0),
        Regression::R2 => {
            let corr = corr()?;
            Some(corr * corr)
        }
        Regression::Sxx => Some(n * xs.variance()?),
        Regression::Syy => Some(n * ys.variance()?),
        Regression::Sxy => Some(n * (both.moment / n)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(which: Spread, values: &[f64]) -> Option<Option<f64>> {
        spread(which, values.iter().copied()).ok()
    }

    /// What DuckDB 1.5.5 answers; `None` where it says that the function is out of range.
    #[test]
    fn one_value_that_is_no_number() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(of(Spread::Sem, &[value]), None);
            assert_eq!(of(Spread::KurtosisPop, &[value]), Some(None));
            assert_eq!(of(Spread::VarPop, &[value]), Some(Some(0.0)));
            assert_eq!(of(Spread::StddevPop, &[value]), Some(Some(0.0)));
            assert_eq!(of(Spread::VarSamp, &[value]), Some(None));
        }
        assert_eq!(of(Spread::Sem, &[1e200]), Some(Some(0.0)));
        assert_eq!(of(Spread::KurtosisPop, &[1e200]), Some(None));
        assert_eq!(of(Spread::KurtosisPop, &[1e200, -1e200]), None);
        assert_eq!(of(Spread::Sem, &[1e200, -1e200]), None);
        assert_eq!(of(Spread::Sem, &[]), Some(None));
    }

    #[test]
    fn a_covariance_need_not_be_finite() {
        let of = |which, pairs: &[(f64, f64)]| regression(which, pairs.iter().copied()).ok();
        for which in [Regression::CovarPop, Regression::CovarSamp, Regression::Sxy] {
            let nan = of(which, &[(1.0, f64::INFINITY), (2.0, 3.0)]);
            assert!(nan.flatten().is_some_and(f64::is_nan), "{which:?}");
            assert_eq!(of(which, &[(1e200, 1e200), (-1e200, -1e200)]), Some(Some(f64::INFINITY)), "{which:?}");
        }
        assert_eq!(of(Regression::CovarSamp, &[(1.0, f64::INFINITY)]), Some(None));
        assert_eq!(of(Regression::Corr, &[(1e200, 1e200), (-1e200, -1e200)]), None);
        assert_eq!(of(Regression::Sxx, &[(1.0, f64::INFINITY), (2.0, 3.0)]), None);
    }
}
