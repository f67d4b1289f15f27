//! Buffers: reference-counted, 64-byte aligned slices whose memory comes from a caching pool.
//!
//! A buffer is one block of memory, a header of 64 bytes and the elements behind it. Blocks have sizes of a few classes:
//! steps of 64 bytes up to 4 KiB, then four classes to each power of two up to 512 MiB; larger blocks go to the system
//! directly. A block that is dropped goes to a list of its class on the thread that dropped it and the next buffer of that
//! class takes the last one dropped, whose memory is the likeliest to be in the cache. What a thread has too much of
//! goes to lists that all threads share, and so does what another thread has made: that one will want it again.
//!
//! Every block is zeroed when it comes from the system, so its bytes are always initialised and may be read as any
//! type for which each bit pattern is a value. Large blocks start at varying offsets within a page, so that the
//! same element of several tensors does not fall into one set of the cache.

use crate::copy::copy_slice;
use crate::element::Element;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The bytes of a header and the alignment of blocks.
const LINE: usize = 64;
/// The bytes of a large page, and of the smallest block that is aligned to one.
const HUGE: usize = 2 << 20;
/// The largest block in steps of a line.
const SMALL: usize = 4096;
/// The largest block that is kept for reuse.
const LARGE: usize = 512 << 20;
/// Class 0 to 64 in lines, then four to each power of two from 4 KiB to 512 MiB.
const CLASSES: usize = 1 + 64 + 17 * 4;
/// The class of blocks that return to the system.
const DIRECT: usize = CLASSES;
/// What a thread keeps before it hands blocks to the shared lists.
const LOCAL_BYTES: usize = 64 << 20;

/// The start of a block.
#[repr(C, align(64))]
struct Header {
    references: AtomicUsize,
    /// Elements in use.
    len: usize,
    class: usize,
    /// Bytes behind the header, not counting the slack.
    capacity: usize,
    /// Bytes between the start of the allocation and this header.
    offset: usize,
    /// Which thread has taken it last.
    taker: usize,
    /// The next free block while this one is in a list.
    next: *mut Header,
}

/// The class of a block for so many bytes, and the bytes it has.
fn class_of(bytes: usize) -> (usize, usize) {
    if bytes <= SMALL {
        let lines = bytes.div_ceil(LINE);
        (lines, lines * LINE)
    } else if bytes <= LARGE {
        let power = (bytes - 1).ilog2() as usize;
        let step = 1 << (power - 2);
        let steps = (bytes - (1 << power)).div_ceil(step);
        (64 + (power - 12) * 4 + steps, (1 << power) + steps * step)
    } else {
        (DIRECT, bytes.div_ceil(4096).saturating_mul(4096))
    }
}

/// Header, elements, one line that vector loads may touch, and for large blocks room to vary the offset. Blocks of large pages find
/// their alignment themselves: asked for zeros with one, the system's allocator writes them, while fresh pages are zero anyway.
fn layout_of(class: usize, capacity: usize) -> Option<Layout> {
    let room = if class > 64 { LINE * 32 } else { 0 };
    let bytes = capacity.checked_add(2 * LINE + room)?;
    if capacity >= HUGE {
        return Layout::from_size_align(bytes.checked_add(HUGE)?, size_of::<usize>()).ok();
    }
    Layout::from_size_align(bytes, LINE).ok()
}

/// The bytes of a block that may be touched.
fn bytes_of(layout: Layout, capacity: usize) -> u64 {
    (layout.size() - if capacity >= HUGE { HUGE } else { 0 }) as u64
}

/// Zeroed memory from the system and where in it a block may begin, for large blocks in pages of 2 MiB if it has some: a channel of
/// many images is otherwise on more pages than the processor remembers. Null if there is none.
///
/// # Safety
/// The layout is that of a block of this capacity.
unsafe fn zeroed(layout: Layout, capacity: usize) -> (*mut u8, usize) {
    // SAFETY: the layout has the bytes of a header.
    let start = unsafe { alloc_zeroed(layout) };
    if start.is_null() || capacity < HUGE {
        return (start, 0);
    }
    let aligned = start.align_offset(HUGE);
    #[cfg(target_os = "linux")]
    // SAFETY: whole pages inside of the allocation, which has HUGE bytes more than the block; it is a hint, so there is nothing to do
    // if it fails.
    unsafe {
        libc::madvise(start.add(aligned).cast(), (layout.size() - aligned) / HUGE * HUGE, libc::MADV_HUGEPAGE);
    }
    (start, aligned)
}

/// What the process has asked of the system, and how its buffers fare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// How often memory was requested from the system.
    pub system_allocations: u64,
    /// Bytes now held from the system, in use or cached.
    pub system_bytes: u64,
    /// How often a buffer got a cached block.
    pub reused: u64,
    /// Bytes of blocks in use.
    pub live_bytes: u64,
    /// Bytes of blocks waiting to be reused.
    pub cached_bytes: u64,
}

static SYSTEM_ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static SYSTEM_BYTES: AtomicU64 = AtomicU64::new(0);

/// Counters that one thread writes and any thread reads.
#[derive(Default)]
struct Counters {
    reused: AtomicU64,
    live: AtomicI64,
}

impl Counters {
    fn count(&self, reused: u64, live: i64) {
        if reused > 0 {
            self.reused.store(self.reused.load(Ordering::Relaxed) + reused, Ordering::Relaxed);
        }
        self.live.store(self.live.load(Ordering::Relaxed) + live, Ordering::Relaxed);
    }
}

/// The lists that all threads share, and the counters of all threads.
struct Shared {
    free: [*mut Header; CLASSES],
    counters: Vec<Arc<Counters>>,
    /// The sums of threads that have ended.
    reused: u64,
    live: i64,
}

// SAFETY: the free blocks belong to the lists alone and nothing in them is tied to a thread.
unsafe impl Send for Shared {}

static SHARED: Mutex<Shared> =
    Mutex::new(Shared { free: [null_mut(); CLASSES], counters: Vec::new(), reused: 0, live: 0 });

fn shared() -> MutexGuard<'static, Shared> {
    SHARED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The lists of one thread.
struct Local {
    free: [Cell<*mut Header>; CLASSES],
    bytes: Cell<usize>,
    counters: Arc<Counters>,
}

impl Local {
    fn new() -> Local {
        let counters = Arc::new(Counters::default());
        shared().counters.push(Arc::clone(&counters));
        Local { free: [const { Cell::new(null_mut()) }; CLASSES], bytes: Cell::new(0), counters }
    }

    /// A number that no other living thread has.
    fn id(&self) -> usize {
        Arc::as_ptr(&self.counters) as usize
    }

    /// Hands all blocks to the shared lists.
    fn flush(&self, shared: &mut Shared) {
        for (mine, theirs) in self.free.iter().zip(&mut shared.free) {
            let mut block = mine.replace(null_mut());
            while !block.is_null() {
                // SAFETY: a block in a list is a live allocation that only the list points to.
                let next = unsafe { (*block).next };
                // SAFETY: as above.
                unsafe { (*block).next = *theirs };
                *theirs = block;
                block = next;
            }
        }
        self.bytes.set(0);
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        let mut shared = shared();
        self.flush(&mut shared);
        shared.reused += self.counters.reused.load(Ordering::Relaxed);
        shared.live += self.counters.live.load(Ordering::Relaxed);
        shared.counters.retain(|c| !Arc::ptr_eq(c, &self.counters));
    }
}

thread_local! {
    static LOCAL: Local = Local::new();
}

/// A block from the system; None if it has no memory.
fn system_block(class: usize, capacity: usize) -> Option<*mut Header> {
    let layout = layout_of(class, capacity)?;
    // SAFETY: the layout is that of the capacity.
    let (start, aligned) = unsafe { zeroed(layout, capacity) };
    if start.is_null() {
        return None;
    }
    let count = SYSTEM_ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    SYSTEM_BYTES.fetch_add(bytes_of(layout, capacity), Ordering::Relaxed);
    let offset = aligned + if class > 64 { LINE * (17 * count as usize % 32) } else { 0 };
    // SAFETY: the layout has room for the offset, with which the block is aligned to a line.
    let block = unsafe { start.add(offset) }.cast::<Header>();
    let header =
        Header { references: AtomicUsize::new(0), len: 0, class, capacity, offset, taker: 0, next: null_mut() };
    // SAFETY: block is aligned and inside of the allocation.
    unsafe { block.write(header) };
    Some(block)
}

/// Gives a block back to the system.
///
/// # Safety
/// The block came from [`system_block`] and nothing points to it any more.
unsafe fn release(block: *mut Header) {
    // SAFETY: the block is alive until the end of this function.
    let (class, capacity, offset) = unsafe { ((*block).class, (*block).capacity, (*block).offset) };
    let layout = layout_of(class, capacity).expect("it was valid when the block was made");
    SYSTEM_BYTES.fetch_sub(bytes_of(layout, capacity), Ordering::Relaxed);
    // SAFETY: the start of the allocation and the layout it was made with.
    unsafe { dealloc(block.cast::<u8>().sub(offset), layout) };
}

/// A block with room for so many bytes: the thread's, a shared one, or a new one.
fn take(bytes: usize) -> Option<*mut Header> {
    let (class, capacity) = class_of(bytes);
    let found = LOCAL.try_with(|local| {
        if class == DIRECT {
            local.counters.count(0, capacity as i64);
            return (null_mut(), 0);
        }
        let block = local.free[class].get();
        if !block.is_null() {
            // SAFETY: a block in a list is a live allocation that only the list points to.
            local.free[class].set(unsafe { (*block).next });
            local.bytes.set(local.bytes.get() - capacity);
            local.counters.count(1, capacity as i64);
            return (block, local.id());
        }
        let mut shared = shared();
        let block = shared.free[class];
        if !block.is_null() {
            // SAFETY: as above.
            shared.free[class] = unsafe { (*block).next };
        }
        local.counters.count(u64::from(!block.is_null()), capacity as i64);
        (block, local.id())
    });
    let block = match found {
        Ok((block, _)) if !block.is_null() => Some(block),
        counted => system_block(class, capacity)
            .or_else(|| {
                // What waits to be used again may be what is missing.
                if capacity as u64 > SYSTEM_BYTES.load(Ordering::Relaxed) {
                    return None;
                }
                trim();
                system_block(class, capacity)
            })
            .or_else(|| {
                if counted.is_ok() {
                    let _ = LOCAL.try_with(|local| local.counters.count(0, -(capacity as i64)));
                }
                None
            }),
    }?;
    // SAFETY: the block is alive and in no list.
    unsafe { (*block).taker = found.map_or(0, |(_, id)| id) };
    Some(block)
}

/// Puts a block into the list of its class.
///
/// # Safety
/// The block came from [`take`] and nothing points to it any more.
unsafe fn give(block: *mut Header) {
    // SAFETY: the block is alive and ours.
    let (class, capacity, taker) = unsafe { ((*block).class, (*block).capacity, (*block).taker) };
    let kept = LOCAL.try_with(|local| {
        local.counters.count(0, -(capacity as i64));
        if class == DIRECT {
            return false;
        }
        if local.bytes.get() + capacity > LOCAL_BYTES || taker != local.id() {
            let mut shared = shared();
            // SAFETY: as above; from here the shared list owns the block.
            unsafe { (*block).next = shared.free[class] };
            shared.free[class] = block;
            return true;
        }
        // SAFETY: as above; from here the thread's list owns the block.
        unsafe { (*block).next = local.free[class].get() };
        local.free[class].set(block);
        local.bytes.set(local.bytes.get() + capacity);
        true
    });
    if !matches!(kept, Ok(true)) {
        // SAFETY: no list has taken the block.
        unsafe { release(block) };
    }
}

/// What the process has asked of the system so far, and how its buffers fare.
pub fn stats() -> Stats {
    let _ = LOCAL.try_with(|_| ());
    let shared = shared();
    let (mut reused, mut live) = (shared.reused, shared.live);
    for counters in &shared.counters {
        reused += counters.reused.load(Ordering::Relaxed);
        live += counters.live.load(Ordering::Relaxed);
    }
    let system_bytes = SYSTEM_BYTES.load(Ordering::Relaxed);
    let live_bytes = live.max(0) as u64;
    Stats {
        system_allocations: SYSTEM_ALLOCATIONS.load(Ordering::Relaxed),
        system_bytes,
        reused,
        live_bytes,
        cached_bytes: system_bytes.saturating_sub(live_bytes),
    }
}

/// Returns the cached blocks of this thread and of the shared lists to the system.
pub fn trim() {
    let mut free = [null_mut(); CLASSES];
    let _ = LOCAL.try_with(|local| local.flush(&mut shared()));
    std::mem::swap(&mut free, &mut shared().free);
    for mut block in free {
        while !block.is_null() {
            // SAFETY: the list, which is ours alone now, holds live blocks that nothing else points to.
            let next = unsafe { (*block).next };
            // SAFETY: as above.
            unsafe { release(block) };
            block = next;
        }
    }
}

/// A reference-counted slice from the pool, aligned to 64 bytes.
///
/// Clones share the elements; they can be written as long as there is one owner.
///
/// ```
/// let mut a = gabor_kernels::buffer::Buffer::from_slice(&[1.0f32, 2.0]);
/// let b = a.clone();
/// assert!(a.get_mut().is_none());
/// a.make_mut()[0] = 5.0;
/// assert_eq!((&a[..], &b[..]), (&[5.0, 2.0][..], &[1.0, 2.0][..]));
/// ```
pub struct Buffer<T: Element> {
    block: NonNull<Header>,
    elements: PhantomData<T>,
}

// SAFETY: a buffer is a shared slice of elements that are Send and Sync, with an atomic count of its owners.
unsafe impl<T: Element> Send for Buffer<T> {}
// SAFETY: as above.
unsafe impl<T: Element> Sync for Buffer<T> {}

impl<T: Element> Buffer<T> {
    /// A buffer whose elements are whatever the memory holds; None if there is no memory or the size overflows.
    ///
    /// Builds with debug assertions fill it with bytes of 0xFF, which are NaN as floats.
    pub fn try_unfilled(len: usize) -> Option<Self> {
        let bytes = len.checked_mul(size_of::<T>()).filter(|&b| b <= isize::MAX as usize / 2)?;
        let block = NonNull::new(take(bytes)?)?;
        // SAFETY: take gives a live block that nothing else points to.
        unsafe {
            (*block.as_ptr()).len = len;
            (*block.as_ptr()).references.store(1, Ordering::Relaxed);
        }
        let buffer = Self { block, elements: PhantomData };
        if !T::ANY_BITS || cfg!(debug_assertions) {
            let fill = if T::ANY_BITS { 0xFF } else { 0 };
            // SAFETY: the block has room for len elements; 0 is a value of each type, and 0xFF where all patterns are.
            unsafe { buffer.data().cast::<u8>().write_bytes(fill, bytes) };
        }
        Some(buffer)
    }

    /// A buffer whose elements are whatever the memory holds, as [`try_unfilled`](Self::try_unfilled).
    ///
    /// A failure to allocate ends the process, as in a `Vec`.
    pub fn unfilled(len: usize) -> Self {
        Self::try_unfilled(len)
            .unwrap_or_else(|| handle_alloc_error(Layout::array::<T>(len).unwrap_or_else(|_| Layout::new::<Header>())))
    }

    /// A buffer of zeros (false for bool).
    pub fn zeroed(len: usize) -> Self {
        Self::filled(len, T::default())
    }

    /// A buffer with the same value everywhere.
    pub fn filled(len: usize, value: T) -> Self {
        let mut buffer = Self::unfilled(len);
        buffer.owned().fill(value);
        buffer
    }

    /// A copy of a slice.
    pub fn from_slice(elements: &[T]) -> Self {
        let mut buffer = Self::unfilled(elements.len());
        copy_slice(elements, buffer.owned());
        buffer
    }

    /// The elements, if this is the only owner.
    pub fn get_mut(&mut self) -> Option<&mut [T]> {
        // SAFETY: the block lives as long as an owner does. Acquire pairs with the Release of the owners that have gone.
        let owners = unsafe { (*self.block.as_ptr()).references.load(Ordering::Acquire) };
        (owners == 1).then(|| self.owned())
    }

    /// The elements, copied first if there are other owners.
    pub fn make_mut(&mut self) -> &mut [T] {
        if self.get_mut().is_none() {
            let copy = Self::from_slice(&self[..]);
            *self = copy;
        }
        self.owned()
    }

    /// The first element.
    fn data(&self) -> *mut T {
        // SAFETY: the elements begin one header behind the start of the block.
        unsafe { self.block.as_ptr().add(1).cast::<T>() }
    }

    /// The elements of a buffer that is known to have one owner.
    fn owned(&mut self) -> &mut [T] {
        // SAFETY: the block has len initialised elements, and both callers know that this is the only owner.
        unsafe { std::slice::from_raw_parts_mut(self.data(), (*self.block.as_ptr()).len) }
    }
}

impl<T: Element> Deref for Buffer<T> {
    type Target = [T];
    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: the block has len initialised elements, and a writer would have to be the only owner.
        unsafe { std::slice::from_raw_parts(self.data(), (*self.block.as_ptr()).len) }
    }
}

impl<T: Element> Clone for Buffer<T> {
    fn clone(&self) -> Self {
        // SAFETY: the block lives as long as self does.
        let owners = unsafe { (*self.block.as_ptr()).references.fetch_add(1, Ordering::Relaxed) };
        if owners > isize::MAX as usize {
            std::process::abort();
        }
        Buffer { block: self.block, elements: PhantomData }
    }
}

impl<T: Element> Drop for Buffer<T> {
    fn drop(&mut self) {
        // SAFETY: the block lives as long as self does.
        let references = unsafe { &(*self.block.as_ptr()).references };
        // The only owner stays the only one, and needs no counting.
        if references.load(Ordering::Acquire) == 1 || references.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            // SAFETY: this was the last owner.
            unsafe { give(self.block.as_ptr()) };
        }
    }
}

impl<T: Element> fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_cover_every_size() {
        let mut last = (0, 0);
        for bytes in (0..20_000).chain((20_000..LARGE).step_by(99_991)).chain([LARGE - 1, LARGE]) {
            let (class, capacity) = class_of(bytes);
            assert!(capacity >= bytes && class < CLASSES, "{bytes}");
            assert!(capacity <= bytes + (bytes / 4).max(63), "{bytes} got {capacity}");
            assert!(class >= last.0 && (class == last.0) == (capacity == last.1) || bytes == 0, "{bytes}");
            last = (class, capacity);
        }
        assert_eq!(class_of(LARGE).0, CLASSES - 1);
        assert_eq!(class_of(LARGE + 1).0, DIRECT);
    }

    #[test]
    fn what_one_thread_makes_and_another_drops_goes_round() {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let maker = std::thread::spawn(move || {
            // A class that no other test uses.
            (0..100).for_each(|_| sender.send(Buffer::<u8>::unfilled(11 << 20)).unwrap());
        });
        let places: std::collections::HashSet<usize> = receiver.iter().map(|buffer| buffer.as_ptr() as usize).collect();
        maker.join().unwrap();
        assert!(places.len() <= 4, "{} blocks", places.len());
    }

    #[test]
    fn elements_are_aligned_and_copied_on_write() {
        for len in [0, 1, 15, 16, 17, 1024, 1025, 5000, 20_000_000] {
            let mut a = Buffer::filled(len, 3.0f32);
            assert_eq!(a.as_ptr() as usize % 64, 0);
            assert!(a.len() == len && a.iter().all(|&v| v == 3.0));
            let b = a.clone();
            assert!(a.get_mut().is_none());
            a.make_mut().fill(4.0);
            assert!(b.iter().all(|&v| v == 3.0) && a.iter().all(|&v| v == 4.0));
            assert!(a.get_mut().is_some());
        }
    }

    #[test]
    fn a_dropped_block_is_reused() {
        // The second is a result of a layer of a large net, and waits where another test may give all back meanwhile.
        for len in [777_001, 12_000_001] {
            let again = (0..20).any(|_| {
                let a = Buffer::<f64>::unfilled(len);
                let at = a.as_ptr();
                drop(a);
                Buffer::<i64>::unfilled(len).as_ptr().cast() == at
            });
            assert!(again, "{len}");
        }
        assert!(stats().reused > 0 && stats().system_allocations > 0);
    }

    #[test]
    fn impossible_sizes_are_refused() {
        assert!(Buffer::<f64>::try_unfilled(usize::MAX).is_none());
        assert!(Buffer::<f64>::try_unfilled(usize::MAX / 8).is_none());
        assert!(Buffer::<u8>::try_unfilled(isize::MAX as usize / 2).is_none());
    }

    #[test]
    fn bool_is_false_whatever_the_memory_held() {
        drop(Buffer::filled(100, 0xFFu8));
        assert!(Buffer::<bool>::unfilled(100).iter().all(|&b| !b));
    }

    #[test]
    fn blocks_cross_threads() {
        let made = std::thread::spawn(|| Buffer::filled(10_000, 1.0f32)).join().expect("the thread ends well");
        assert_eq!(made.iter().sum::<f32>(), 10_000.0);
        drop(made);
        trim();
    }
}
