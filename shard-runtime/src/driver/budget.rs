//! The budget of connections in use, which keeps sessions from deadlocking on the pool: the banker's algorithm. Pure;
//! uses nothing of the crate.
//!
//! A session that holds connections and waits for one more could wait for another session that does the same. A
//! connection is therefore granted only if afterwards some session can still obtain one of every database. After that
//! session has returned its connections, another must be able to do the same, and so on to the last.

/// The limit of a cluster's connections, and their current use.
pub(super) struct ConnectionBudget {
    limit: usize,
    used: usize,
    /// The number of owners that hold this number of connections, by that number.
    holders: Vec<usize>,
}

impl ConnectionBudget {
    /// Creates a budget with this limit. One owner needs at most `needed` connections; the limit is never less than that.
    pub(super) fn new(limit: usize, needed: usize) -> Self {
        ConnectionBudget { limit: limit.max(needed), used: 0, holders: vec![0; needed + 1] }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Raises the limit.
    pub(super) fn raise(&mut self, limit: usize) {
        self.limit = self.limit.max(limit);
    }

    /// Lowers the limit, as far as all owners can still finish, and not below the need of one owner.
    pub(super) fn lower(&mut self, limit: usize) {
        let before = self.limit;
        self.limit = before.min(limit.max(self.holders.len().saturating_sub(1)));
        while self.limit < before && !self.all_can_finish() {
            self.limit += 1;
        }
    }

    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Returns whether an owner that holds `held` connections may take one more.
    pub(super) fn may_take(&mut self, held: usize) -> bool {
        let may_take = self.take(held);
        if may_take {
            self.give_back(held + 1);
        }
        may_take
    }

    /// Takes one more connection for an owner that holds `held`. Returns whether it is granted.
    pub(super) fn take(&mut self, held: usize) -> bool {
        if self.used >= self.limit {
            return false;
        }
        self.count(held, held + 1);
        self.used += 1;
        let may_have_it = self.all_can_finish();
        if !may_have_it {
            self.give_back(held + 1);
        }
        may_have_it
    }

    /// Takes a connection back from an owner that holds `held`.
    pub(super) fn give_back(&mut self, held: usize) {
        self.count(held, held.saturating_sub(1));
        self.used = self.used.saturating_sub(1);
    }

    /// Records that the number of connections of an owner has changed.
    fn count(&mut self, before: usize, now: usize) {
        if let Some(holders) = self.holders.get_mut(before).filter(|_| before > 0) {
            *holders = holders.saturating_sub(1);
        }
        if let Some(holders) = self.holders.get_mut(now).filter(|_| now > 0) {
            *holders += 1;
        }
    }

    /// Returns whether there is an order in which all owners can obtain their maximum and return it.
    fn all_can_finish(&self) -> bool {
        let needed = self.holders.len().saturating_sub(1);
        let mut free = self.limit.saturating_sub(self.used);
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
    fn no_session_waits_for_ever() {
        // Four databases, six connections: a fourth session would leave two connections, too few for any session to have
        // four.
        let mut budget = ConnectionBudget::new(6, 4);
        assert!(budget.take(0) && budget.take(0) && budget.take(0));
        assert!(!budget.take(0));
        // The first session can have all that it needs, and the others must wait.
        assert!(budget.take(1));
        assert!(
            !budget.take(1),
            "two each are four, and two are left: no session gets to four and leaves one for the third"
        );
        assert!(budget.take(2) && budget.take(3));
        assert_eq!((budget.used(), budget.take(1)), (6, false));
        for held in [4, 3, 2, 1] {
            budget.give_back(held);
        }
        assert!(budget.take(1) && budget.take(2) && budget.take(3));
    }

    #[test]
    fn a_lowered_limit_leaves_every_holder_a_way_to_end() {
        let mut budget = ConnectionBudget::new(12, 4);
        // Three holders of two each: one of them needs two more.
        for held in [0, 0, 0, 1, 1, 1] {
            assert!(budget.take(held));
        }
        budget.lower(0);
        assert_eq!((budget.limit(), budget.take(0)), (8, false));
        assert!(budget.take(2) && budget.take(3));
        for held in [4, 3, 2, 1, 2, 1] {
            budget.give_back(held);
        }
        budget.lower(5);
        assert_eq!(budget.limit(), 5);
        budget.lower(0);
        assert_eq!(budget.limit(), 4, "what one owner may need");
        budget.raise(3);
        assert_eq!(budget.limit(), 4);
        budget.raise(6);
        assert_eq!(budget.limit(), 6);
    }

    #[test]
    fn of_one_database_all_can_be_had() {
        let mut budget = ConnectionBudget::new(3, 1);
        assert!(budget.take(0) && budget.take(0) && budget.take(0) && !budget.take(0));
        budget.give_back(1);
        assert!(budget.take(0));
    }

    #[test]
    fn some_pool_can_always_connect() {
        let mut seed: u64 = 1;
        let mut below = |end: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % end
        };
        for round in 0..200 {
            let needed = 1 + below(5);
            let mut budget = ConnectionBudget::new(needed + below(6), needed);
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
                assert!(used <= budget.limit());
                // One of the sessions that hold a connection can have one more, or no session holds one.
                let may_continue = |held: &usize| {
                    let can = *held == needed || budget.take(*held);
                    if can && *held < needed {
                        budget.give_back(held + 1);
                    }
                    can
                };
                let holders: Vec<usize> = sessions.iter().copied().filter(|held| *held > 0).collect();
                assert!(
                    holders.is_empty() || holders.iter().any(may_continue),
                    "round {round}: {sessions:?}"
                );
            }
        }
    }
}
