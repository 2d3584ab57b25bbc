//! Keeps the traits that only this crate implements from being implemented elsewhere.

/// The supertrait of traits whose implementing types are all of this crate. It cannot be named elsewhere.
pub trait Sealed {}

/// The type of the constant `SEAL`, which traits with blanket implementations require: these would overlap as
/// implementations of [`Sealed`]. It cannot be named elsewhere, so the constant cannot be written there.
#[derive(Clone, Copy, Debug)]
pub struct Seal;

macro_rules! tuples {
    ($($name:ident)*) => {
        impl<$($name: Sealed),*> Sealed for ($($name,)*) {}
    };
}
tuples!();
tuples!(A);
tuples!(A B);
tuples!(A B C);
tuples!(A B C D);
tuples!(A B C D E);
tuples!(A B C D E F);
tuples!(A B C D E F G);
tuples!(A B C D E F G H);
