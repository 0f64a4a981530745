//! A place whose bytes are overwritten when it is dropped, for keys of a library
//! that does not do it.
//!
//! What is moved leaves a copy where it was, and no library can follow it there. So
//! a key is put into its box at once and stays there; only the stack that it was
//! made on keeps copies, until the calls that follow overwrite them.

use std::mem::{self, MaybeUninit};
use std::slice;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// A value of a type that owns nothing but its own bytes.
pub(super) struct Wiped<T>(MaybeUninit<T>);

impl<T> Wiped<T> {
    /// Around a value.
    pub(super) fn new(value: T) -> Self {
        // What owns something would have to be dropped before it is overwritten.
        const { assert!(!mem::needs_drop::<T>()) }
        Wiped(MaybeUninit::new(value))
    }

    /// The value.
    pub(super) fn get(&self) -> &T {
        // SAFETY: `new` is the only way to make one, and initializes it; only `drop`
        // takes the value away, and nobody can have a reference to it then.
        unsafe { self.0.assume_init_ref() }
    }
}

impl<T> Drop for Wiped<T> {
    fn drop(&mut self) {
        // As a slice it is overwritten byte by byte, those between fields included.
        slice::from_mut(&mut self.0).zeroize();
    }
}

impl<T> ZeroizeOnDrop for Wiped<T> {}

#[cfg(test)]
pub(super) mod tests {
    use std::mem::ManuallyDrop;

    use super::*;

    /// The bytes that a value leaves behind when it is dropped where it is.
    pub(in super::super) fn left_of<T>(value: Wiped<T>) -> Vec<u8> {
        let mut place = ManuallyDrop::new(value);
        // SAFETY: it is dropped once, here, and not used after that. Its place lives
        // on, and `drop` has initialized every byte of it, those between fields too.
        unsafe {
            ManuallyDrop::drop(&mut place);
            let bytes: *const u8 = (&raw const place).cast();
            slice::from_raw_parts(bytes, size_of::<Wiped<T>>()).to_vec()
        }
    }

    /// A key of 32 bytes with a flag, and so with bytes between the fields.
    #[repr(C)]
    struct Flat {
        flag: u8,
        key: [u64; 4],
    }

    #[test]
    fn what_is_dropped_is_overwritten() {
        let flat = Wiped::new(Flat { flag: 1, key: [u64::MAX; 4] });
        assert_eq!((flat.get().flag, flat.get().key), (1, [u64::MAX; 4]));
        assert_eq!(left_of(flat), [0; 40]);
    }
}
