//! A list that stores only the used ones of many values. Uses nothing.

/// Values by index. Only values that were changed take memory; the others are the default.
pub(crate) struct Sparse<T> {
    len: usize,
    /// In ascending order of their indexes.
    used: Vec<(usize, T)>,
    default: T,
}

impl<T: Default> Sparse<T> {
    pub(crate) fn new(len: usize) -> Self {
        Sparse { len, used: Vec::new(), default: T::default() }
    }

    /// Returns the number of indexes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn find(&self, index: usize) -> Result<usize, usize> {
        self.used.binary_search_by_key(&index, |(used, _)| *used)
    }

    /// Returns the value at an index; `None` if the index is too large.
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        match self.find(index) {
            Ok(at) => self.used.get(at).map(|(_, value)| value),
            Err(_) => (index < self.len).then_some(&self.default),
        }
    }

    /// Returns the value at an index, which is stored from now on; `None` if the index is too large.
    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        if index >= self.len {
            return None;
        }
        let at = self.find(index).unwrap_or_else(|at| {
            self.used.insert(at, (index, T::default()));
            at
        });
        self.used.get_mut(at).map(|(_, value)| value)
    }

    /// Returns the stored values with their indexes, in order.
    pub(crate) fn used(&self) -> impl Iterator<Item = (usize, &T)> {
        self.used.iter().map(|(index, value)| (*index, value))
    }

    /// Returns the stored values with their indexes, in order.
    pub(crate) fn used_mut(&mut self) -> impl Iterator<Item = (usize, &mut T)> {
        self.used.iter_mut().map(|(index, value)| (*index, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_stored_once_it_is_changed() {
        let mut list = Sparse::<u32>::new(3);
        assert_eq!((list.len(), list.get(2), list.get(3)), (3, Some(&0), None));
        assert!(list.get_mut(3).is_none() && list.used().next().is_none());
        for (index, value) in [(2, 7), (0, 5), (2, 8)] {
            *list.get_mut(index).unwrap() = value;
        }
        assert_eq!(list.used().collect::<Vec<_>>(), [(0, &5), (2, &8)]);
        list.used_mut().for_each(|(index, value)| *value += index as u32);
        assert_eq!([0, 1, 2].map(|index| *list.get(index).unwrap()), [5, 0, 10]);
    }
}
