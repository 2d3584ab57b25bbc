//! How many connections may be in use at once, and who may have one more. Pure: nothing here waits.
//!
//! Who holds connections and waits for one more could wait for somebody who does the same, and both for ever. So nobody
//! is given one after which that could come: there is always somebody who can have all that it may need, then (when that
//! has given all back) somebody else, and so on to the last. What everybody may need is one connection of each database.

/// What is left of the connections that the databases of a cluster may have together.
pub(super) struct Budget {
    most: usize,
    used: usize,
    /// How many holders have so many connections each, by their number.
    holders: Vec<usize>,
}

impl Budget {
    /// A budget of so many connections, of which a holder needs no more than these. It is never less than that.
    pub(super) fn new(most: usize, needed: usize) -> Self {
        Budget { most: most.max(needed), used: 0, holders: vec![0; needed + 1] }
    }

    pub(super) fn most(&self) -> usize {
        self.most
    }

    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Takes one more for a holder of so many; whether it may have it.
    pub(super) fn take(&mut self, held: usize) -> bool {
        if self.used >= self.most {
            return false;
        }
        self.count(held, held + 1);
        self.used += 1;
        let may_have_it = self.everybody_can_end();
        if !may_have_it {
            self.give_back(held + 1);
        }
        may_have_it
    }

    /// Takes one back from a holder of so many.
    pub(super) fn give_back(&mut self, held: usize) {
        self.count(held, held.saturating_sub(1));
        self.used = self.used.saturating_sub(1);
    }

    /// A holder has so many from now on, and had so many before.
    fn count(&mut self, before: usize, now: usize) {
        if let Some(holders) = self.holders.get_mut(before).filter(|_| before > 0) {
            *holders = holders.saturating_sub(1);
        }
        if let Some(holders) = self.holders.get_mut(now).filter(|_| now > 0) {
            *holders += 1;
        }
    }

    /// Whether there is an order in which everybody can have all that it may need, and give it back.
    fn everybody_can_end(&self) -> bool {
        let needed = self.holders.len().saturating_sub(1);
        let mut free = self.most.saturating_sub(self.used);
        for (held, holders) in self.holders.iter().enumerate().rev().filter(|(_, holders)| **holders > 0) {
            if needed.saturating_sub(held) > free {
                return false;
            }
            free += held * holders;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_left_half_way() {
        // Four databases, six connections: the fourth session would leave two, with which nobody has four.
        let mut budget = Budget::new(6, 4);
        assert!(budget.take(0) && budget.take(0) && budget.take(0));
        assert!(!budget.take(0));
        // The first that goes on can have all, and the others cannot meanwhile.
        assert!(budget.take(1));
        assert!(
            !budget.take(1),
            "two each are four, and two are left: nobody gets to four and leaves one for the third"
        );
        assert!(budget.take(2) && budget.take(3));
        assert_eq!((budget.used(), budget.take(1)), (6, false));
        for held in [4, 3, 2, 1] {
            budget.give_back(held);
        }
        assert!(budget.take(1) && budget.take(2) && budget.take(3));
    }

    #[test]
    fn of_one_database_all_can_be_had() {
        let mut budget = Budget::new(3, 1);
        assert!(budget.take(0) && budget.take(0) && budget.take(0) && !budget.take(0));
        budget.give_back(1);
        assert!(budget.take(0));
    }

    #[test]
    fn whatever_is_asked_for_somebody_can_always_go_on() {
        let mut seed: u64 = 1;
        let mut below = |end: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % end
        };
        for round in 0..200 {
            let needed = 1 + below(5);
            let mut budget = Budget::new(needed + below(6), needed);
            let mut sessions = vec![0; 1 + below(8)];
            for _ in 0..200 {
                let session = below(sessions.len());
                if sessions[session] < needed && budget.take(sessions[session]) {
                    sessions[session] += 1;
                }
                if sessions[session] == needed || below(8) == 0 {
                    (1..=sessions[session]).rev().for_each(|held| budget.give_back(held));
                    sessions[session] = 0;
                }
                let used: usize = sessions.iter().sum();
                assert_eq!(budget.used(), used);
                assert!(used <= budget.most());
                // Of those who hold something, one can have one more; or there is nobody.
                let goes_on = |held: &usize| {
                    let can = *held == needed || budget.take(*held);
                    if can && *held < needed {
                        budget.give_back(held + 1);
                    }
                    can
                };
                let holders: Vec<usize> = sessions.iter().copied().filter(|held| *held > 0).collect();
                assert!(holders.is_empty() || holders.iter().any(goes_on), "round {round}: {sessions:?}");
            }
        }
    }
}
