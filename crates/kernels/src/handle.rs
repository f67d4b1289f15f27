//! Handles: shared ownership of small values that are made and dropped all the time, the parts of tensors and graphs.
//!
//! A handle is an `Arc` with three differences that a small operator feels: there are no weak references, so the only owner stays
//! the only one and need not count down; and the memory of a value that is dropped waits on its thread for the next value of
//! its size, instead of going back to the system's allocator.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::fmt;
use std::ops::Deref;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicUsize, Ordering, fence};

/// Sizes of memory are multiples of this, and it is its alignment.
const UNIT: usize = 64;
/// The largest memory that is kept, in units.
const CLASSES: usize = 8;
/// How many pieces of one size a thread keeps.
const KEPT: usize = 1024;

/// Memory that waits; it begins with the address of the next.
struct Free {
    next: *mut Free,
}

/// What a thread keeps of each size.
struct Lists([Cell<(*mut Free, usize)>; CLASSES]);

impl Drop for Lists {
    fn drop(&mut self) {
        for (i, list) in self.0.iter().enumerate() {
            let (mut piece, _) = list.replace((null_mut(), KEPT));
            while !piece.is_null() {
                // SAFETY: a piece in a list is memory of its class that only the list points to, and holds a `Free`.
                unsafe {
                    let next = (*piece).next;
                    dealloc(piece.cast(), layout_of(i + 1));
                    piece = next;
                }
            }
        }
    }
}

thread_local! {
    static LISTS: Lists = const { Lists([const { Cell::new((null_mut(), 0)) }; CLASSES]) };
}

fn layout_of(units: usize) -> Layout {
    Layout::from_size_align(units * UNIT, UNIT).expect("values are far smaller than the address space")
}

/// Memory of so many units.
#[inline]
fn obtain(units: usize) -> NonNull<u8> {
    let kept = LISTS.try_with(|lists| {
        let list = lists.0.get(units - 1)?;
        let (piece, count) = list.get();
        let piece = NonNull::new(piece)?;
        // SAFETY: a piece in a list holds a `Free`, and only the list points to it.
        list.set((unsafe { piece.as_ref().next }, count - 1));
        Some(piece.cast::<u8>())
    });
    if let Ok(Some(piece)) = kept {
        return piece;
    }
    let layout = layout_of(units);
    // SAFETY: the layout is not empty.
    NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
}

/// Keeps memory for the next value, or returns it to the system.
///
/// # Safety
/// The memory came from [`obtain`] with as many units, and nothing points to it any more.
#[inline]
unsafe fn give(piece: NonNull<u8>, units: usize) {
    let kept = LISTS.try_with(|lists| {
        let Some(list) = lists.0.get(units - 1) else { return false };
        let (next, count) = list.get();
        if count >= KEPT {
            return false;
        }
        let piece = piece.cast::<Free>();
        // SAFETY: the memory has room for a `Free` and its alignment; the caller's promise.
        unsafe { piece.write(Free { next }) };
        list.set((piece.as_ptr(), count + 1));
        true
    });
    if !matches!(kept, Ok(true)) {
        // SAFETY: the caller's promise; no list has taken it.
        unsafe { dealloc(piece.as_ptr(), layout_of(units)) };
    }
}

/// A value and how many handles it has.
struct Counted<T> {
    count: AtomicUsize,
    value: T,
}

/// A shared value, as an `Arc`.
///
/// ```
/// use gabor_kernels::handle::Handle;
/// let a = Handle::new([1, 2]);
/// let b = a.clone();
/// assert_eq!(*b, [1, 2]);
/// assert!(a.last().is_none());
/// assert_eq!(b.last().map(|mut b| b.get_mut().is_some()), Some(true));
/// ```
pub struct Handle<T> {
    counted: NonNull<Counted<T>>,
}

// SAFETY: a handle gives shared access from any thread and may drop the value on any, with an atomic count of its owners.
unsafe impl<T: Send + Sync> Send for Handle<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Handle<T> {}

impl<T> Handle<T> {
    const UNITS: usize = {
        assert!(align_of::<Counted<T>>() <= UNIT);
        size_of::<Counted<T>>().div_ceil(UNIT)
    };

    /// The first handle of a value.
    #[inline]
    pub fn new(value: T) -> Self {
        Self::with(|| value)
    }

    /// The first handle of the value that `make` makes, in its place if the compiler can. If it panics, the memory is lost.
    #[inline]
    pub fn with(make: impl FnOnce() -> T) -> Self {
        let counted = obtain(Self::UNITS).cast::<Counted<T>>();
        // SAFETY: the memory has the size and alignment, and nothing else points to it.
        unsafe {
            (&raw mut (*counted.as_ptr()).value).write(make());
            (&raw mut (*counted.as_ptr()).count).write(AtomicUsize::new(1));
        }
        Handle { counted }
    }

    /// The value for writing, if this is its only handle.
    #[inline]
    pub fn get_mut(&mut self) -> Option<&mut T> {
        // SAFETY: the value lives as long as a handle does. Acquire pairs with the Release of the handles that have gone.
        let counted = unsafe { self.counted.as_mut() };
        (counted.count.load(Ordering::Acquire) == 1).then_some(&mut counted.value)
    }

    /// The handle itself if it is the last one; else it is counted down.
    #[inline]
    pub fn last(self) -> Option<Self> {
        let counted = self.counted;
        std::mem::forget(self);
        // SAFETY: the handle was alive, and lives on if it was the last.
        unsafe {
            leave(&counted.as_ref().count).then(|| {
                (*counted.as_ptr()).count.store(1, Ordering::Relaxed);
                Handle { counted }
            })
        }
    }
}

/// Counts one handle more.
#[inline]
fn enter(count: &AtomicUsize) {
    if count.fetch_add(1, Ordering::Relaxed) > isize::MAX as usize {
        std::process::abort();
    }
}

/// Counts one handle down, which is not used any more; whether it was the last.
#[inline]
fn leave(count: &AtomicUsize) -> bool {
    // The only owner stays the only one, as only an owner can make another.
    let last = count.load(Ordering::Acquire) == 1 || count.fetch_sub(1, Ordering::Release) == 1;
    if last {
        fence(Ordering::Acquire);
    }
    last
}

/// Drops the value. Not inlined: handles are dropped in hundreds of places, where this would be compiled again.
///
/// # Safety
/// The last handle of the value has gone.
#[inline(never)]
unsafe fn remove<T>(counted: NonNull<Counted<T>>) {
    /// Gives the memory back even if dropping the value panics.
    struct Memory<T>(NonNull<Counted<T>>);
    impl<T> Drop for Memory<T> {
        fn drop(&mut self) {
            // SAFETY: the last handle has gone and the value with it.
            unsafe { give(self.0.cast(), Handle::<T>::UNITS) };
        }
    }
    let memory = Memory(counted);
    // SAFETY: the caller's promise: nothing else points to the value.
    unsafe { (&raw mut (*memory.0.as_ptr()).value).drop_in_place() };
}

impl<T> Deref for Handle<T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the value lives as long as a handle does, and a writer would have the only one.
        unsafe { &self.counted.as_ref().value }
    }
}

impl<T> Clone for Handle<T> {
    #[inline]
    fn clone(&self) -> Self {
        // SAFETY: the value lives as long as a handle does.
        enter(unsafe { &self.counted.as_ref().count });
        Handle { counted: self.counted }
    }
}

impl<T> Drop for Handle<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: this handle is not used any more, and the value is dropped once, by the last.
        unsafe {
            if leave(&self.counted.as_ref().count) {
                remove(self.counted);
            }
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// What is known of a value whose type is forgotten.
struct Head {
    count: AtomicUsize,
    /// What `obtain` was asked for.
    units: usize,
    /// Drops the value behind this head.
    drop: unsafe fn(NonNull<Head>),
}

/// A value and its head, which comes first.
#[repr(C)]
struct Headed<T> {
    head: Head,
    value: T,
}

/// Drops the value behind a head.
///
/// # Safety
/// The head is that of a `Headed<T>` whose value nothing uses any more.
unsafe fn drop_behind<T>(head: NonNull<Head>) {
    // SAFETY: the caller's promise.
    unsafe { (&raw mut (*head.cast::<Headed<T>>().as_ptr()).value).drop_in_place() };
}

/// A shared value of a type that is forgotten, of which `D` is seen: usually a trait, as in an `Arc<dyn Trait>`.
///
/// ```
/// use gabor_kernels::handle::DynHandle;
/// let a: DynHandle<[u8]> = DynHandle::new(|| String::from("abc"), |text| text.as_bytes());
/// assert_eq!(a.clone()[1], b'b');
/// ```
pub struct DynHandle<D: ?Sized> {
    head: NonNull<Head>,
    seen: NonNull<D>,
}

// SAFETY: as of a handle: `new` takes values only that are Send and Sync.
unsafe impl<D: ?Sized + Send + Sync> Send for DynHandle<D> {}
// SAFETY: as above.
unsafe impl<D: ?Sized + Send + Sync> Sync for DynHandle<D> {}

impl<D: ?Sized + 'static> DynHandle<D> {
    /// The first handle of the value that `make` makes, as in [`Handle::with`], and what `see` shows of it. If one
    /// of the two panics, the memory is lost.
    #[inline]
    pub fn new<T: Send + Sync + 'static>(
        make: impl FnOnce() -> T,
        see: impl for<'a> FnOnce(&'a T) -> &'a D,
    ) -> DynHandle<D> {
        const { assert!(align_of::<Headed<T>>() <= UNIT) };
        let units = size_of::<Headed<T>>().div_ceil(UNIT);
        let headed = obtain(units).cast::<Headed<T>>();
        let head = Head { count: AtomicUsize::new(1), units, drop: drop_behind::<T> };
        // SAFETY: the memory has the size and alignment, and nothing else points to it. What is seen of the value lives as long as
        // the value does, which nothing moves or changes until its last handle has gone.
        unsafe {
            (&raw mut (*headed.as_ptr()).value).write(make());
            (&raw mut (*headed.as_ptr()).head).write(head);
            DynHandle { head: headed.cast(), seen: NonNull::from(see(&(*headed.as_ptr()).value)) }
        }
    }
}

/// Drops the value behind a head and gives its memory back, which is lost if dropping panics.
///
/// # Safety
/// The last handle of the value has gone.
#[inline(never)]
unsafe fn remove_behind(head: NonNull<Head>) {
    // SAFETY: the caller's promise, and what `new` has written.
    unsafe {
        let Head { units, drop, .. } = *head.as_ptr();
        drop(head);
        give(head.cast(), units);
    }
}

impl<D: ?Sized> Deref for DynHandle<D> {
    type Target = D;
    #[inline]
    fn deref(&self) -> &D {
        // SAFETY: the value lives as long as a handle does, and nothing can write it.
        unsafe { self.seen.as_ref() }
    }
}

impl<D: ?Sized> Clone for DynHandle<D> {
    #[inline]
    fn clone(&self) -> Self {
        // SAFETY: the value lives as long as a handle does.
        enter(unsafe { &self.head.as_ref().count });
        DynHandle { head: self.head, seen: self.seen }
    }
}

impl<D: ?Sized> Drop for DynHandle<D> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: this handle is not used any more, and the value is dropped once, by the last.
        unsafe {
            if leave(&self.head.as_ref().count) {
                remove_behind(self.head);
            }
        }
    }
}

impl<D: ?Sized> fmt::Debug for DynHandle<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Pointer::fmt(&self.seen, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_value_is_dropped_once_by_its_last_handle_on_any_thread() {
        let seen = Arc::new(());
        let mut handles: Vec<Handle<Arc<()>>> = (0..3000).map(|_| Handle::new(seen.clone())).collect();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let copies = handles.clone();
                scope.spawn(move || copies.iter().for_each(|h| assert_eq!(Arc::strong_count(h), 3001)));
            }
        });
        assert!(handles.iter_mut().all(|h| h.get_mut().is_some()));
        // More than a thread keeps, on a thread that has made none of them.
        std::thread::spawn(move || drop(handles)).join().unwrap();
        assert_eq!(Arc::strong_count(&seen), 1);
    }

    #[test]
    fn memory_is_used_again_and_large_values_have_their_own() {
        let a = Handle::new([7u64; 20]);
        let at = std::ptr::from_ref(&*a);
        drop(a);
        assert_eq!(std::ptr::from_ref(&*Handle::new([8u64; 20])), at);
        let large = Handle::new([3u8; 5000]);
        assert!(large.iter().all(|&v| v == 3));
        drop(large);
        drop(Handle::new(()));
    }

    #[test]
    fn the_last_handle_stays_a_handle() {
        let one = Handle::new(5);
        let two = one.clone();
        assert!(one.last().is_none());
        let mut last = two.last().and_then(Handle::last).expect("the other one has gone");
        assert_eq!(last.get_mut(), Some(&mut 5));
    }

    #[test]
    fn what_is_seen_of_a_forgotten_type_lives_as_long_as_its_handles() {
        let seen = Arc::new(());
        let held = seen.clone();
        type Count = dyn Fn() -> usize + Send + Sync;
        let one: DynHandle<Count> = DynHandle::new(
            || {
                let list = String::from("ab");
                move || list.len() + Arc::strong_count(&held)
            },
            |f| -> &Count { f },
        );
        let two = one.clone();
        drop(one);
        assert_eq!(std::thread::spawn(move || two() + 1).join().unwrap(), 5);
        assert_eq!(Arc::strong_count(&seen), 1);
        // A part of the value, and a value with memory of its own.
        let part: DynHandle<[u8]> = DynHandle::new(|| ([7u8; 5000], String::from("x")), |value| &value.0[..3]);
        assert_eq!(part[..], [7; 3]);
    }

    #[test]
    fn handles_of_handles_are_dropped_with_them() {
        let inner = Handle::new(String::from("inner"));
        let outer = Handle::new((inner.clone(), vec![inner.clone(); 3]));
        assert_eq!(*outer.1[2], "inner");
        drop(outer);
        assert_eq!(inner.last().as_deref().map(String::as_str), Some("inner"));
    }
}
