//! A list of which most places are never used. Uses nothing.

/// Values by place, of which only those that were changed take memory. The others are the default.
pub(crate) struct Sparse<T> {
    len: usize,
    /// In the order of their places.
    used: Vec<(usize, T)>,
    default: T,
}

impl<T: Default> Sparse<T> {
    pub(crate) fn new(len: usize) -> Self {
        Sparse { len, used: Vec::new(), default: T::default() }
    }

    /// Returns the number of places.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn find(&self, place: usize) -> Result<usize, usize> {
        self.used.binary_search_by_key(&place, |(used, _)| *used)
    }

    /// Returns the value of a place; `None` if there is no such place.
    pub(crate) fn get(&self, place: usize) -> Option<&T> {
        match self.find(place) {
            Ok(at) => self.used.get(at).map(|(_, value)| value),
            Err(_) => (place < self.len).then_some(&self.default),
        }
    }

    /// Returns the value of a place, which is used from now on; `None` if there is no such place.
    pub(crate) fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        if place >= self.len {
            return None;
        }
        let at = self.find(place).unwrap_or_else(|at| {
            self.used.insert(at, (place, T::default()));
            at
        });
        self.used.get_mut(at).map(|(_, value)| value)
    }

    /// Returns the values that are used, with their places, in order.
    pub(crate) fn used(&self) -> impl Iterator<Item = (usize, &T)> {
        self.used.iter().map(|(place, value)| (*place, value))
    }

    /// Returns the values that are used, with their places, in order.
    pub(crate) fn used_mut(&mut self) -> impl Iterator<Item = (usize, &mut T)> {
        self.used.iter_mut().map(|(place, value)| (*place, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_used_once_it_is_changed() {
        let mut list = Sparse::<u32>::new(3);
        assert_eq!((list.len(), list.get(2), list.get(3)), (3, Some(&0), None));
        assert!(list.get_mut(3).is_none() && list.used().next().is_none());
        for (place, value) in [(2, 7), (0, 5), (2, 8)] {
            *list.get_mut(place).unwrap() = value;
        }
        assert_eq!(list.used().collect::<Vec<_>>(), [(0, &5), (2, &8)]);
        list.used_mut().for_each(|(place, value)| *value += place as u32);
        assert_eq!([0, 1, 2].map(|place| *list.get(place).unwrap()), [5, 0, 10]);
    }
}
