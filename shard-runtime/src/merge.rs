//! Several ordered streams become one: a k-way merge that pulls a row only when it is needed. Pure.

use std::cmp::Ordering;

use crate::error::Result;

/// An ordered stream that stands on its current row.
pub(crate) trait Stream {
    /// Goes to the next row; `false` where there is none.
    fn advance(&mut self) -> Result<bool>;
}

/// Visits the rows of all streams in order, `skip` of them left out and at most `take` of them visited.
/// Rows that compare equal come in the order of their streams. `visit` is told the stream's place.
///
/// The least head is searched for in line: with the few streams that a query has, that is as fast as a heap.
pub(crate) fn merge<S: Stream>(
    streams: &mut [S],
    compare: impl Fn(&S, &S) -> Result<Ordering>,
    mut skip: u64,
    take: Option<u64>,
    mut visit: impl FnMut(usize, &S) -> Result<()>,
) -> Result<()> {
    let mut left = take.unwrap_or(u64::MAX);
    let mut live = Vec::with_capacity(streams.len());
    for (place, stream) in streams.iter_mut().enumerate() {
        if left > 0 && stream.advance()? {
            live.push(place);
        }
    }
    while left > 0 && !live.is_empty() {
        let mut least = 0;
        for candidate in 1..live.len() {
            if compare(&streams[live[candidate]], &streams[live[least]])? == Ordering::Less {
                least = candidate;
            }
        }
        let place = live[least];
        if skip > 0 {
            skip -= 1;
        } else {
            visit(place, &streams[place])?;
            left -= 1;
        }
        if left > 0 && !streams[place].advance()? {
            live.remove(least);
        }
    }
    Ok(())
}

/// Visits the rows of one stream after the other, with the same bounds; a stream that is not needed is not
/// begun.
pub(crate) fn chain<S: Stream>(
    streams: &mut [S],
    mut skip: u64,
    take: Option<u64>,
    mut visit: impl FnMut(usize, &S) -> Result<()>,
) -> Result<()> {
    let mut left = take.unwrap_or(u64::MAX);
    for (place, stream) in streams.iter_mut().enumerate() {
        while left > 0 && stream.advance()? {
            if skip > 0 {
                skip -= 1;
            } else {
                visit(place, stream)?;
                left -= 1;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Numbers {
        rows: Vec<i32>,
        next: usize,
        pulled: usize,
    }

    impl Numbers {
        fn current(&self) -> i32 {
            self.rows[self.next - 1]
        }
    }

    impl Stream for Numbers {
        fn advance(&mut self) -> Result<bool> {
            self.pulled += 1;
            self.next += 1;
            Ok(self.next <= self.rows.len())
        }
    }

    fn streams(lists: &[&[i32]]) -> Vec<Numbers> {
        lists.iter().map(|rows| Numbers { rows: rows.to_vec(), next: 0, pulled: 0 }).collect()
    }

    fn merged(lists: &[&[i32]], skip: u64, take: Option<u64>) -> Vec<(usize, i32)> {
        let mut found = Vec::new();
        let by_number = |a: &Numbers, b: &Numbers| Ok(a.current().cmp(&b.current()));
        merge(&mut streams(lists), by_number, skip, take, |place, stream| {
            found.push((place, stream.current()));
            Ok(())
        })
        .unwrap();
        found
    }

    #[test]
    fn r25_the_merge_is_ordered_and_ties_keep_the_streams_order() {
        assert_eq!(
            merged(&[&[1, 3, 3], &[], &[0, 3, 9]], 0, None),
            [(2, 0), (0, 1), (0, 3), (0, 3), (2, 3), (2, 9)]
        );
    }

    #[test]
    fn r26_bounds_apply_once() {
        assert_eq!(merged(&[&[1, 4], &[2, 3]], 1, Some(2)), [(1, 2), (1, 3)]);
        assert_eq!(merged(&[&[1], &[2]], 5, Some(2)), []);
        assert_eq!(merged(&[&[1], &[2]], 0, Some(0)), []);
    }

    #[test]
    fn no_row_is_pulled_that_is_not_needed() {
        let mut lists = streams(&[&[1, 2, 3, 4], &[5, 6, 7]]);
        merge(&mut lists, |a, b| Ok(a.current().cmp(&b.current())), 0, Some(2), |_, _| Ok(())).unwrap();
        assert_eq!((lists[0].pulled, lists[1].pulled), (2, 1));
        let mut lists = streams(&[&[1, 2, 3, 4], &[5, 6, 7]]);
        chain(&mut lists, 0, Some(2), |_, _| Ok(())).unwrap();
        assert_eq!((lists[0].pulled, lists[1].pulled), (2, 0));
    }
}
