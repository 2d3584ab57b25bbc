//! Several ordered streams become one: a k-way merge that pulls a row only when it is needed. Pure.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use crate::error::Result;
use crate::planner::LimitOffset;
use crate::row::Stream;

/// The current row of a stream, by the values that are compared.
struct Head<K> {
    key: K,
    /// The stream's index.
    index: usize,
}

/// Unites a stream's current row with the key of an equal row of another stream, which is left out.
pub(crate) type Unite<'u, S, K> = &'u dyn Fn(&mut S, &K);

/// Visits the rows of all streams in order until they end, the bounds are reached, or `visit` breaks. `visit` receives the
/// stream's index and the stream. Rows that compare equal come in the order of their streams. With `distinct`, only the first
/// of them is visited, after the others were united with it.
///
/// A row's key is read once, when its stream advances to it. The heads are kept in an ordered list, which for the few streams
/// of a query is as fast as a heap.
pub(crate) fn merge<S: Stream, K: Default>(
    streams: &mut [S],
    read_key: impl Fn(&S, &mut K) -> Result<()>,
    compare: impl Fn(&K, &K) -> Ordering,
    distinct: Option<Unite<'_, S, K>>,
    mut bounds: LimitOffset,
    mut visit: impl FnMut(usize, &S) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let mut heads: Vec<Head<K>> = Vec::with_capacity(streams.len());
    let advance = |streams: &mut [S], heads: &mut Vec<Head<K>>, mut head: Head<K>| -> Result<()> {
        let stream = &mut streams[head.index];
        if stream.advance()? {
            read_key(stream, &mut head.key)?;
            let is_before = |other: &Head<K>| {
                compare(&other.key, &head.key).then(other.index.cmp(&head.index)) == Ordering::Less
            };
            heads.insert(heads.partition_point(is_before), head);
        }
        Ok(())
    };
    for index in 0..streams.len() {
        if !bounds.is_over() {
            advance(streams, &mut heads, Head { key: K::default(), index })?;
        }
    }
    while let Some(Head { key, index }) = heads.first()
        && !bounds.is_over()
    {
        let mut used = 1;
        if let Some(unite) = distinct {
            for other in heads.iter().skip(1).take_while(|other| compare(&other.key, key) == Ordering::Equal)
            {
                unite(&mut streams[*index], &other.key);
                used += 1;
            }
        }
        if bounds.count(|| visit(*index, &streams[*index]))?.is_break() {
            break;
        }
        for _ in 0..used {
            let head = heads.remove(0);
            advance(streams, &mut heads, head)?;
        }
    }
    Ok(())
}

/// Visits the rows of one of several streams that follow each other and share the bounds. Breaks if the streams after it are
/// not needed.
pub(crate) fn follow<S: Stream>(
    stream: &mut S,
    bounds: &mut LimitOffset,
    mut visit: impl FnMut(&S) -> Result<ControlFlow<()>>,
) -> Result<ControlFlow<()>> {
    while !bounds.is_over() && stream.advance()? {
        if bounds.count(|| visit(stream))?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(if bounds.is_over() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Numbers {
        rows: Vec<i32>,
        next: usize,
        pulled: usize,
        /// The number of rows of other streams that are equal to the current one.
        united: usize,
    }

    impl Numbers {
        fn current(&self) -> i32 {
            self.rows[self.next - 1]
        }
    }

    impl Stream for Numbers {
        fn advance(&mut self) -> Result<bool> {
            self.pulled += 1;
            self.united = 0;
            self.next += 1;
            Ok(self.next <= self.rows.len())
        }
    }

    fn streams(lists: &[&[i32]]) -> Vec<Numbers> {
        lists.iter().map(|rows| Numbers { rows: rows.to_vec(), next: 0, pulled: 0, united: 0 }).collect()
    }

    fn merged(lists: &[&[i32]], skip: u64, take: Option<u64>) -> Vec<(usize, i32)> {
        let mut found = Vec::new();
        merge(&mut streams(lists), number, i32::cmp, None, LimitOffset { skip, take }, |index, stream| {
            found.push((index, stream.current()));
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
        found
    }

    fn number(stream: &Numbers, key: &mut i32) -> Result<()> {
        *key = stream.current();
        Ok(())
    }

    #[test]
    fn equal_rows_come_once_where_they_are_to_be_distinct() {
        let mut found = Vec::new();
        let bounds = LimitOffset { skip: 1, take: Some(3) };
        merge(
            &mut streams(&[&[1, 3, 4], &[1, 2, 3, 9], &[3]]),
            number,
            i32::cmp,
            Some(&|stream, other| {
                assert_eq!(stream.current(), *other);
                stream.united += 1;
            }),
            bounds,
            |_, stream| {
                found.push((stream.current(), stream.united));
                Ok(ControlFlow::Continue(()))
            },
        )
        .unwrap();
        assert_eq!(found, [(2, 0), (3, 2), (4, 0)]);
    }

    #[test]
    fn a_visitor_that_breaks_pulls_no_further_row() {
        let mut lists = streams(&[&[1, 2, 3], &[5, 6, 7]]);
        let stop = |_: usize, _: &Numbers| Ok(ControlFlow::Break(()));
        merge(&mut lists, number, i32::cmp, None, LimitOffset::default(), stop).unwrap();
        let over = follow(&mut lists[0], &mut LimitOffset::default(), |stream| stop(0, stream)).unwrap();
        assert_eq!((over, lists[0].pulled, lists[1].pulled), (ControlFlow::Break(()), 2, 1));
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
        let two = LimitOffset { skip: 0, take: Some(2) };
        let proceed = |_: usize, _: &Numbers| Ok(ControlFlow::Continue(()));
        merge(&mut lists, number, i32::cmp, None, two, proceed).unwrap();
        assert_eq!((lists[0].pulled, lists[1].pulled), (2, 1));
        let mut stream = streams(&[&[1, 2, 3, 4]]).remove(0);
        let over = follow(&mut stream, &mut two.clone(), |stream| proceed(0, stream)).unwrap();
        assert_eq!((over, stream.pulled), (ControlFlow::Break(()), 2));
    }

    #[test]
    fn r26_streams_that_follow_each_other_have_one_bound() {
        let (mut bounds, mut found, mut over) =
            (LimitOffset { skip: 3, take: Some(3) }, Vec::new(), Vec::new());
        for stream in &mut streams(&[&[1, 2], &[3, 4, 5], &[], &[6, 7]]) {
            let more = follow(stream, &mut bounds, |stream| {
                found.push(stream.current());
                Ok(ControlFlow::Continue(()))
            });
            over.push(more.unwrap().is_break());
        }
        assert_eq!((found, over), (vec![4, 5, 6], vec![false, false, false, true]));
    }
}
