//! Which line of the user's program an operation counts for.
//!
//! `#[track_caller]` hands the line down through every operator. It ends at calls through `dyn` and inside of rules; there the
//! line is kept for the thread.

use std::cell::Cell;
use std::panic::Location;

#[derive(Clone, Copy)]
struct Origin {
    at: &'static Location<'static>,
    /// Only calls from files below count for `at`; empty inside of a rule, where all do.
    folder: &'static str,
}

thread_local! {
    static ORIGIN: Cell<Option<Origin>> = const { Cell::new(None) };
}

/// The line of the user's program that the calling function counts for: its caller if it is marked with `#[track_caller]`, or
/// what [`called_from`] has set.
#[track_caller]
pub fn caller() -> &'static Location<'static> {
    let caller = Location::caller();
    match ORIGIN.get() {
        Some(origin) if caller.file().starts_with(origin.folder) => origin.at,
        _ => caller,
    }
}

/// Whether a rule is running on this thread.
pub(super) fn in_rule() -> bool {
    ORIGIN.get().is_some_and(|origin| origin.folder.is_empty())
}

/// Puts back what was there before.
pub(super) struct Restore(Option<Origin>);

impl Drop for Restore {
    fn drop(&mut self) {
        ORIGIN.set(self.0);
    }
}

/// Until the guard is dropped, all operations count for the line of the one whose rule runs.
pub(super) fn inside_rule(at: &'static Location<'static>) -> Restore {
    Restore(ORIGIN.replace(Some(Origin { at, folder: "" })))
}

/// Runs `f` so that operations that files below `folder` call count as called at `at`.
///
/// For containers of layers behind `dyn`, where `#[track_caller]` ends: the layers of a library then count for the line that
/// called the container, a user's own layers for their own lines.
///
/// ```
/// use std::panic::Location;
/// use gabor_tensor::{Tensor, called_from};
/// #[track_caller]
/// fn twice(layer: &dyn Fn(&Tensor) -> gabor_tensor::Result<Tensor>, x: &Tensor) -> gabor_tensor::Result<Tensor> {
///     called_from(Location::caller(), "src/layers/", || layer(&layer(x)?))
/// }
/// assert_eq!(twice(&|x| x.square(), &Tensor::new(2f32)?)?.item()?, 16.0);
/// # Ok::<(), gabor_tensor::Error>(())
/// ```
pub fn called_from<R>(at: &'static Location<'static>, folder: &'static str, f: impl FnOnce() -> R) -> R {
    let _restore = match ORIGIN.get() {
        // A container inside of another one, called through `dyn` as well.
        Some(outer) if at.file().starts_with(outer.folder) => None,
        _ => Some(Restore(ORIGIN.replace(Some(Origin { at, folder })))),
    };
    f()
}
