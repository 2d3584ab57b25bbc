//! Numbers that a bulk update computes from a row's own columns: `City::POPULATION + 10`.

use std::marker::PhantomData;
use std::ops::{Add, Mul, Sub};

use super::column::{Assigned, Column, ColumnKind, IntoAssign, Operand};
use super::filter::DEEPEST;
use super::measure::Number;
use crate::row::Storable;
use crate::sealed::Seal;
use crate::value::Field;

/// A number that is computed from the columns of a row of `T`, for a column of `V`. `V` is an `Option` if one of the columns
/// may be NULL, which makes the whole NULL.
///
/// ```
/// # use shard_runtime::{Cluster, Sharded};
/// # #[derive(Sharded, Clone, Debug)]
/// # struct Account {
/// #     #[id]
/// #     #[shard_key(hash)]
/// #     id: i64,
/// #     cents: i64,
/// #     bonus: i64,
/// # }
/// # fn main() -> shard_runtime::Result<()> {
/// # let cluster = Cluster::in_memory::<Account>(["a", "b"])?;
/// # let mut session = cluster.session();
/// # session.add_all((1..5).map(|id| Account { id, cents: 100, bonus: id }))?;
/// let paid = Account::update().set(Account::CENTS, Account::CENTS + Account::BONUS * 2);
/// assert_eq!(session.execute(paid.all_shards())?, 4);
/// # assert_eq!(session.get::<Account>(3)?.map(|account| account.cents), Some(106));
/// # Ok(())
/// # }
/// ```
///
/// Integers are computed in 64 bits, floats as `f64`. If a result does not fit these, or the column's type, executing the
/// update fails with [`ErrorKind::Value`](crate::ErrorKind::Value), and nothing is written.
pub struct Expression<T, V> {
    term: Term,
    marker: PhantomData<fn() -> (T, V)>,
}

untyped!(
    Expression < T,
    V > {
        term;
        marker
    }
);

/// An expression without its types.
#[derive(Clone, Debug)]
pub enum Term {
    Column(usize),
    Value(Operand),
    Combined {
        operator: Arithmetic,
        sides: Box<[Term; 2]>,
        depth: usize,
    },
    /// Stands for terms that are nested deeper than [`DEEPEST`]. The planner reports it as an error.
    TooDeep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    Add,
    Subtract,
    Multiply,
}

impl Term {
    pub(crate) fn combined(self, operator: Arithmetic, right: Term) -> Self {
        let depth = 1 + self.depth().max(right.depth());
        match depth <= DEEPEST {
            true => Term::Combined { operator, sides: Box::new([self, right]), depth },
            false => Term::TooDeep,
        }
    }

    fn depth(&self) -> usize {
        match self {
            Term::Column(_) | Term::Value(_) => 0,
            Term::Combined { depth, .. } => *depth,
            Term::TooDeep => DEEPEST,
        }
    }
}

/// The computed numbers that a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Every `i64`, or every `f64` except NaN.
    All,
    /// The integers between these two, both included.
    Between(i64, i64),
    /// Floats that fit `f32`; other floats are rounded to it.
    Single,
}

impl<T, V> Expression<T, V> {
    fn of(term: Term) -> Self {
        Expression { term, marker: PhantomData }
    }
}

/// A term of a computation with columns of `T` that hold `N`: an `N`, another such column of `T`, or an expression of them.
///
/// This trait is sealed: an update computes in numbers in which every database gives the same result.
#[diagnostic::on_unimplemented(
    message = "a column of `{T}` that holds `{N}` cannot be computed with `{Self}`",
    label = "neither a `{N}` nor such a column of `{T}`",
    note = "an update computes with columns of the row itself, and with values of the column's own type"
)]
pub trait IntoTerm<T, N> {
    /// The type of the term's value: an `Option` if it may be NULL.
    type Value;
    #[doc(hidden)]
    fn into_term(self) -> Term;
}

impl<T, N: Number> IntoTerm<T, N> for N {
    type Value = N;

    fn into_term(self) -> Term {
        Term::Value(Operand::of(&self))
    }
}

impl<T, N: Number, K> IntoTerm<T, N> for Column<T, N, K> {
    type Value = N;

    fn into_term(self) -> Term {
        Term::Column(self.index())
    }
}

impl<T, N: Number, K> IntoTerm<T, N> for Column<T, Option<N>, K> {
    type Value = Option<N>;

    fn into_term(self) -> Term {
        Term::Column(self.index())
    }
}

impl<T, N: Number> IntoTerm<T, N> for Expression<T, N> {
    type Value = N;

    fn into_term(self) -> Term {
        self.term
    }
}

impl<T, N: Number> IntoTerm<T, N> for Expression<T, Option<N>> {
    type Value = Option<N>;

    fn into_term(self) -> Term {
        self.term
    }
}

/// A number that a `W` can be added to. The result is nullable if one of the two is.
///
/// This trait is sealed: an update computes in numbers in which every database gives the same result.
pub trait Combine<W> {
    /// The result.
    type Output;

    #[doc(hidden)]
    const SEAL: Seal;
}

impl<N: Number> Combine<N> for N {
    type Output = N;
    const SEAL: Seal = Seal;
}

impl<N: Number> Combine<Option<N>> for N {
    type Output = Option<N>;
    const SEAL: Seal = Seal;
}

impl<N: Number> Combine<N> for Option<N> {
    type Output = Option<N>;
    const SEAL: Seal = Seal;
}

impl<N: Number> Combine<Option<N>> for Option<N> {
    type Output = Option<N>;
    const SEAL: Seal = Seal;
}

macro_rules! operators {
    ($($operator:ident $method:ident $arithmetic:ident),*) => {$(
        impl<T, V, K, R> $operator<R> for Column<T, V, K>
        where
            V: Storable<Compare: Number> + Combine<R::Value>,
            R: IntoTerm<T, V::Compare>,
        {
            type Output = Expression<T, <V as Combine<R::Value>>::Output>;

            fn $method(self, right: R) -> Self::Output {
                let term = Term::Column(self.index());
                Expression::of(term.combined(Arithmetic::$arithmetic, right.into_term()))
            }
        }

        impl<T, V, R> $operator<R> for Expression<T, V>
        where
            V: Storable<Compare: Number> + Combine<R::Value>,
            R: IntoTerm<T, V::Compare>,
        {
            type Output = Expression<T, <V as Combine<R::Value>>::Output>;

            fn $method(self, right: R) -> Self::Output {
                Expression::of(self.term.combined(Arithmetic::$arithmetic, right.into_term()))
            }
        }
    )*};
}
operators!(Add add Add, Sub sub Subtract, Mul mul Multiply);

impl<T, V: Storable<Compare: Number>> IntoAssign<T, V> for Expression<T, V> {
    fn into_assign(self) -> Assigned {
        Assigned::Computed(self.term, <V::Compare as Number>::HOLDS)
    }
}

impl<T, N: Number> IntoAssign<T, Option<N>> for Expression<T, N> {
    fn into_assign(self) -> Assigned {
        Assigned::Computed(self.term, N::HOLDS)
    }
}

impl<T, V: Storable, K: ColumnKind> IntoAssign<T, V> for Column<T, V, K> {
    fn into_assign(self) -> Assigned {
        Assigned::Computed(Term::Column(self.index()), Holds::All)
    }
}

impl<T, F: Field, K: ColumnKind> IntoAssign<T, Option<F>> for Column<T, F, K> {
    fn into_assign(self) -> Assigned {
        Assigned::Computed(Term::Column(self.index()), Holds::All)
    }
}
