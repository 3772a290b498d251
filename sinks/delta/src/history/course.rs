//! How a history goes on with a commit: decided by where it stands, and where the view's table stands.

use tidegate_core::{Committed, Epoch, EpochHeader, Micros};

use super::events::Moment;
use super::standing::{NOTHING, Standing, Step};

/// What a commit of the view brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Changes,
    Replace,
}

/// How a history goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Course {
    /// It holds the range already: the sink stopped before the view's table had it.
    Done,
    /// There is none, nor a table of the view: it begins with the first changes. What a stopped attempt left goes.
    Make,
    /// It holds what the view's table holds: the changes come to it.
    Follow,
    /// The content after the commit is compared with what is open.
    Compare,
    /// There is none: it begins with the rows after the commit.
    Begin,
    /// The view went on without it: what is open ends here, and the rows after the commit begin.
    Anew(Moment),
    /// The commit that began all that is open was not followed by the view's: they begin now instead.
    Again,
}

/// What a history must be taken back to before it goes on: the sink stopped before the view's table had what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Back {
    pub(crate) to: Committed,
    pub(crate) time: Micros,
}

/// The history holds an epoch that is still to come, and no stop of ours explains it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ahead(pub(crate) Epoch);

/// How the history goes on. `held` is where it stands, `view` where the view's table stands.
pub(crate) fn course(
    held: Option<(Committed, Standing)>,
    view: Option<Committed>,
    mode: Mode,
    header: &EpochHeader,
) -> Result<(Option<Back>, Course), Ahead> {
    let Some((held, standing)) = held else {
        let begins = if mode == Mode::Changes && view.is_none() { Course::Make } else { Course::Begin };
        return Ok((None, begins));
    };
    let ours = Committed { epoch: header.epoch, hash: header.hash };
    let stands = view.unwrap_or(NOTHING);
    let goes_on = if mode == Mode::Changes { Course::Follow } else { Course::Compare };
    let is_ahead = held.epoch >= ours.epoch;
    let has_stopped = standing.before == stands && held != stands;
    let before_ours =
        Back { to: Committed { epoch: Epoch(header.epoch.0 - 1), ..NOTHING }, time: Micros(header.time.0 - 1) };
    Ok(match (has_stopped, view) {
        (true, _) if held == ours => (None, Course::Done),
        (true, Some(_)) if held.epoch > stands.epoch => match standing.step {
            Step::Began => (None, Course::Again),
            Step::WentOn | Step::Made => (Some(Back { to: stands, time: standing.before_time }), goes_on),
        },
        (true, None) if standing.step == Step::Made && mode == Mode::Changes => (None, Course::Make),
        // The view's table is gone, or its first commit did not come: what comes is a whole content.
        (true, None) if is_ahead && ours.epoch > standing.held => (Some(before_ours), Course::Compare),
        (false, None) if held == ours => (Some(before_ours), Course::Compare),
        (_, None) if !is_ahead => (None, Course::Compare),
        (_, Some(stands)) if held == stands => (None, goes_on),
        _ if !is_ahead => (None, Course::Anew((Epoch(held.epoch.0 + 1), Micros(standing.time.0.saturating_add(1))))),
        _ => return Err(Ahead(held.epoch)),
    })
}

#[cfg(test)]
mod tests {
    use tidegate_core::EpochHash;

    use super::*;

    fn at(epoch: u64, hash: u8) -> Committed {
        Committed { epoch: Epoch(epoch), hash: EpochHash([hash; 32]) }
    }

    fn header(epoch: u64, hash: u8) -> EpochHeader {
        let Committed { epoch, hash } = at(epoch, hash);
        EpochHeader { epoch, hash, frontier: Default::default(), time: Micros(epoch.0 as i64), latest_commit: None }
    }

    fn held(held: Committed, before: Committed, step: Step) -> Option<(Committed, Standing)> {
        let time = |epoch: Epoch| Micros(epoch.0 as i64);
        let (time, before_time, held_before) = (time(held.epoch), time(before.epoch), before.epoch);
        Some((held, Standing { time, before, before_time, held: held_before, step }))
    }

    fn back(to: Committed) -> Option<Back> {
        Some(Back { to, time: Micros(to.epoch.0 as i64) })
    }

    #[test]
    fn it_goes_on_where_the_view_does() {
        use Course::*;
        let changes = |held, view, now| course(held, view, Mode::Changes, &now);
        let replace = |held, view, now| course(held, view, Mode::Replace, &now);
        assert_eq!(changes(None, None, header(1, 1)), Ok((None, Make)));
        assert_eq!(changes(None, Some(at(4, 1)), header(5, 1)), Ok((None, Begin)));
        assert_eq!(replace(None, None, header(5, 1)), Ok((None, Begin)));
        let standing = held(at(5, 1), at(4, 1), Step::WentOn);
        assert_eq!(changes(standing, Some(at(5, 1)), header(6, 1)), Ok((None, Follow)));
        assert_eq!(replace(standing, Some(at(5, 1)), header(6, 1)), Ok((None, Compare)));
        let end = (Epoch(6), Micros(6));
        assert_eq!(changes(standing, Some(at(7, 1)), header(8, 1)), Ok((None, Anew(end))));
        assert_eq!(changes(standing, Some(at(5, 2)), header(8, 2)), Ok((None, Anew(end))));
        assert_eq!(changes(standing, Some(at(2, 2)), header(5, 2)), Err(Ahead(Epoch(5))));
        assert_eq!(replace(standing, None, header(8, 1)), Ok((None, Compare)));
        assert_eq!(replace(standing, None, header(3, 2)), Err(Ahead(Epoch(5))));
        let before = Some(Back { to: Committed { epoch: Epoch(4), ..NOTHING }, time: Micros(4) });
        assert_eq!(replace(standing, None, header(5, 1)), Ok((before, Compare)));
    }

    #[test]
    fn after_a_stop_between_the_tables_it_is_done_or_taken_back() {
        use Course::*;
        let view = Some(at(4, 1));
        let standing = held(at(7, 1), at(4, 1), Step::WentOn);
        for mode in [Mode::Changes, Mode::Replace] {
            assert_eq!(course(standing, view, mode, &header(7, 1)), Ok((None, Done)));
        }
        // The range is another one now, or of another history.
        for now in [header(5, 1), header(9, 1), header(7, 2)] {
            assert_eq!(course(standing, view, Mode::Changes, &now), Ok((back(at(4, 1)), Follow)));
            assert_eq!(course(standing, view, Mode::Replace, &now), Ok((back(at(4, 1)), Compare)));
            let began = held(at(7, 1), at(4, 1), Step::Began);
            assert_eq!(course(began, view, Mode::Changes, &now), Ok((None, Again)));
        }
    }

    #[test]
    fn after_a_stop_in_the_first_commit_it_begins_again() {
        use Course::*;
        let made = held(at(7, 1), NOTHING, Step::Made);
        assert_eq!(course(made, None, Mode::Changes, &header(5, 1)), Ok((None, Make)));
        assert_eq!(course(made, None, Mode::Changes, &header(7, 1)), Ok((None, Done)));
        let began = held(at(7, 1), NOTHING, Step::Began);
        assert_eq!(course(began, None, Mode::Replace, &header(9, 1)), Ok((None, Compare)));
        let before = Some(Back { to: Committed { epoch: Epoch(4), ..NOTHING }, time: Micros(4) });
        assert_eq!(course(began, None, Mode::Replace, &header(5, 1)), Ok((before, Compare)));
        // What it held before that commit is not given up.
        let (held, standing) = began.unwrap();
        let went_on = Some((held, Standing { held: Epoch(5), step: Step::WentOn, ..standing }));
        assert_eq!(course(went_on, None, Mode::Replace, &header(5, 2)), Err(Ahead(Epoch(7))));
        assert!(course(went_on, None, Mode::Replace, &header(6, 2)).is_ok());
    }
}
