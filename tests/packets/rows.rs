//! Tests that differ in their values only.

/// A test for each row: its name, and what the function `$check` is called with.
macro_rules! rows {
    ($check:ident: $($(#[$comment:meta])* $name:ident($($value:expr),* $(,)?);)+) => {
        $(
            $(#[$comment])*
            #[test]
            fn $name() {
                $check($($value),*);
            }
        )+
    };
}

pub(crate) use rows;
