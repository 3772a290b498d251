//! Work on several circuits at the same time.

use std::sync::Mutex;
use std::thread;

use crate::EngineError;

/// As much as the main thread has: plans are compiled by recursion.
const STACK_BYTES: usize = 8 << 20;

/// What `work` answers for each item, in their order, or the error of the first that failed, on up to `threads` threads. A
/// single item is worked on right here.
pub(crate) fn side_by_side<I: Send, T: Send>(
    threads: usize,
    items: impl IntoIterator<Item = I>,
    work: impl Fn(I) -> Result<T, EngineError> + Sync,
) -> Result<Vec<T>, EngineError> {
    let items: Vec<I> = items.into_iter().collect();
    let helpers = items.len().min(threads).saturating_sub(1);
    if helpers == 0 {
        return items.into_iter().map(work).collect();
    }
    let left = Mutex::new(items.into_iter().enumerate());
    let next = || left.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
    let share = || {
        let mut done = Vec::new();
        while let Some((index, item)) = next() {
            done.push((index, work(item)));
        }
        done
    };
    let mut done = thread::scope(|scope| {
        // Without a thread to be had, the others do its share.
        let helper = || thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, share).ok();
        let helpers: Vec<_> = (0..helpers).filter_map(|_| helper()).collect();
        let mut done = share();
        for helper in helpers {
            match helper.join() {
                Ok(share) => done.extend(share),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, answer)| answer).collect()
}

#[cfg(test)]
mod tests {
    use super::side_by_side;
    use crate::EngineError;

    #[test]
    fn answers_come_in_order() {
        for (count, threads) in [(0, 2), (1, 2), (2, 2), (100, 1), (100, 3)] {
            let answers = side_by_side(threads, 0..count, |item: u64| Ok(item * 2)).unwrap();
            assert_eq!(answers, (0..count).map(|item| item * 2).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_first_error_counts() {
        let failed = side_by_side(2, [5, 1, 3, 2], |item: u64| match item {
            5 => Ok(item),
            1 => Err(EngineError::Misuse("one")),
            _ => Err(EngineError::Misuse("another one")),
        });
        assert!(matches!(failed, Err(EngineError::Misuse("one"))));
    }

    #[test]
    fn what_is_borrowed_is_changed() {
        let mut numbers = vec![1, 2, 3];
        side_by_side(2, &mut numbers, |number: &mut u64| {
            *number += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(numbers, [2, 3, 4]);
    }
}
