//! Prevents other crates from implementing the traits that only this crate implements.

/// The supertrait of traits that only types of this crate implement. Other crates cannot name it.
pub trait Sealed {}

/// The type of the constant `SEAL` of traits with blanket implementations, which would overlap as implementations of
/// [`Sealed`]. Other crates cannot name it, and so cannot define the constant.
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
