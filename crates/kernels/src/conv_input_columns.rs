//! Convolution backward-data as a matrix product whose results are added to where they belong: for few input channels.
//!
//! The plain loop, for one image: `z[m][p] = sum over k of w[k][m] * gy[k][p]` for the weights m of an output channel, that is for
//! all input channels and elements of the kernel; then `gx[c][i*stride + r*dilation - padding][..] += z[c, r, s][i][..]`.
//!
//! The tricks: the gradient is read where it lies, so that neither padding nor strides leave vectors empty, and a tile has many
//! rows even for one channel. Products of some channels are added up while they are in the cache. A row of gx takes all that belongs to
//! it at once: with strides the sums of each residue are made as vectors, then put in turn. Pieces of images go to the threads one by
//! one; if there are few, images are divided by pixels for the product, then by rows.

use crate::buffer::Buffer;
use crate::conv::ConvGeometry;
use crate::conv_parts::lanes;
use crate::element::Float;
use crate::isa::{Isa, Simd, SimdBody};
use crate::par::{self, Shared};
use crate::tile::{Ahead, Start, Sweep, blocks};
use std::ops::Range;

/// Vectors of pixels that a thread takes at once of an image that is divided; all tiles have a width that divides it.
const SHARE: usize = 24;
/// Bytes of products that wait for being added up.
const WAITING: usize = 64 << 10;
/// Elements of sums that wait for being put in turn.
const SUMS: usize = 2 << 10;
/// Rows of weights that fill tiles of any set, if a piece has at least so many.
const ROWS: usize = 24;

/// Whether a convolution can be computed so.
pub(crate) fn fits<T>(isa: Isa, g: &ConvGeometry) -> bool {
    size_of::<T>() == 4 && isa != Isa::Portable && g.out_h * g.out_w >= lanes::<T>(isa)
}

/// Input channels of a group whose products are made and added up before those of the next ones.
fn piece<T>(g: &ConvGeometry) -> usize {
    let (kernel, channels) = (g.kernel_h * g.kernel_w, g.group_in());
    let most = WAITING / size_of::<T>() / (kernel * g.out_h * g.out_w);
    // Few images are divided for the threads, but not into less than a tile.
    let wanted = (2 * par::num_threads()).div_ceil(g.batch * g.groups);
    let pieces = channels.div_ceil(most.max(1)).max(wanted.min(kernel * channels / ROWS)).max(1);
    let even = channels.div_ceil(pieces);
    if kernel == 1 { even.next_multiple_of(if even < ROWS { ROWS / 4 } else { ROWS }).min(channels) } else { even }
}

/// [`crate::conv::conv2d_input`] for a geometry that [`fits`].
pub(crate) fn conv2d_input<T: Float>(isa: Isa, g: &ConvGeometry, w: &[T], gy: &[T], gx: &mut [T]) {
    let (inner, channels, kernel) = (g.group_out(), g.group_in(), g.kernel_h * g.kernel_w);
    let (rows, pixels, plane) = (channels * kernel, g.out_h * g.out_w, g.in_h * g.in_w);
    let (lanes, piece) = (lanes::<T>(isa), piece::<T>(g));
    let pieces = channels.div_ceil(piece);
    let mut starts = vec![0];
    for c in (0..channels).step_by(piece) {
        let blocks = blocks(isa, piece.min(channels - c) * kernel);
        starts.extend(blocks[1..].iter().map(|start| c * kernel + start));
    }
    let per_piece = (starts.len() - 1).div_ceil(pieces);
    let vectors = pixels.div_ceil(lanes);
    let mut lists = Buffer::unfilled(inner + vectors);
    let (taps, from) = lists.make_mut().split_at_mut(inner);
    taps.iter_mut().enumerate().for_each(|(k, tap)| *tap = (k * pixels) as i64);
    from.iter_mut().enumerate().for_each(|(v, from)| *from = (v * lanes).min(pixels - lanes) as i64);
    let (taps, from) = lists.split_at(inner);
    let packed = pack(g, w, &starts);
    let product = |image: usize, blocks: &[usize], share: Range<usize>, z: *mut T| {
        let (source, group) = (&gy[image * inner * pixels..][..inner * pixels], image % g.groups);
        for block in blocks.windows(2) {
            let all = Sweep {
                x: source.as_ptr(),
                from: from[share.clone()].as_ptr(),
                y: z.wrapping_add((block[0] - blocks[0]) * pixels),
                to: from[share.clone()].as_ptr(),
                vectors: share.len(),
                taps: taps.as_ptr(),
                tap_count: inner,
                w: packed[(group * rows + block[0]) * inner..].as_ptr(),
                start: Start::Zero,
                relu: false,
                row: pixels,
                narrow: false,
                ahead: Ahead::NONE,
            };
            // SAFETY: the set comes from detection. The vectors are inside of the pixels of a channel, and z has so many for
            // each row; no two threads write the same ones.
            unsafe { all.run(isa, block[1] - block[0]) };
        }
    };
    let plan = Plan::new(g);
    let images = g.batch * g.groups;
    let gx_len = gx.len();
    assert_eq!(gx_len, images * channels * plane, "the result has its size");
    let to = Shared(gx.as_mut_ptr());
    let gather = |z: &[T], steps: Range<usize>, at: usize, sums: &mut [T]| {
        let some = steps.end.div_ceil(plan.steps());
        assert!(
            z.len() >= some * kernel * pixels && at + some * plane <= gx_len,
            "products and planes of these channels"
        );
        assert!(sums.len() >= plan.sums().2, "room for sums");
        let gather =
            Gather { plan: &plan, z: z.as_ptr(), steps, gx: to.get().wrapping_add(at), sums: sums.as_mut_ptr() };
        // SAFETY: the set comes from detection; the products, the planes and the room for sums were checked, and the caller alone
        // writes the rows of these steps.
        unsafe { T::simd(isa, gather) };
    };
    if images * pieces >= 2 * par::num_threads() {
        par::for_each_range(images * pieces, g.work() / g.groups / pieces, |range| {
            let mut z = Buffer::unfilled(piece * kernel * pixels);
            let mut sums = Buffer::zeroed(plan.sums().2);
            for item in range {
                let (image, p) = (item / pieces, item % pieces);
                let blocks = &starts[p * per_piece..(starts.len() - 1).min((p + 1) * per_piece) + 1];
                product(image, blocks, 0..vectors, z.make_mut().as_mut_ptr());
                let count = piece.min(channels - p * piece);
                gather(&z, 0..count * plan.steps(), (image * channels + p * piece) * plane, sums.make_mut());
            }
        });
    } else {
        let mut z = Buffer::unfilled(rows * pixels);
        for image in 0..images {
            let results = Shared(z.make_mut().as_mut_ptr());
            // The last vector overlaps the one before it: both go to the same thread.
            let shares = (vectors - 1).div_ceil(SHARE).max(1);
            par::for_each_range(shares, g.work() / g.groups / shares, |range| {
                let end = if range.end == shares { vectors } else { range.end * SHARE };
                product(image, &starts, range.start * SHARE..end, results.get());
            });
            let work = 4 * g.kernel_h * g.kernel_w * g.out_w;
            par::for_each_range(channels * plan.steps(), work, |steps| {
                let mut sums = Buffer::zeroed(plan.sums().2);
                gather(&z, steps, image * channels * plane, sums.make_mut());
            });
        }
    }
}

/// Which products belong to which pixels. Those of a residue of the position modulo the stride have the same elements of the kernel.
struct Plan<'a> {
    g: &'a ConvGeometry,
    /// For each residue down and right where its elements begin in the lists, and where the last ones end.
    down_starts: Buffer<i64>,
    right_starts: Buffer<i64>,
    /// For each element of the kernel along an axis, in the order of the residues: how many outputs further than the pixel, counted
    /// among those of its residue, the output is.
    down: Buffer<i64>,
    right: Buffer<i64>,
    /// Offsets of products of a channel from that of the pixel: residue down, residue right, element down, element right.
    taps: Buffer<i64>,
}

/// The elements of the kernel along one axis by the residues that there are, and where those of each begin; their numbers go to
/// `numbers`.
fn elements(
    size: usize,
    kernel: usize,
    dilation: usize,
    stride: usize,
    before: usize,
    numbers: &mut [i64],
) -> (Buffer<i64>, Buffer<i64>) {
    let (mut starts, mut steps) = (Buffer::unfilled(stride.min(size) + 1), Buffer::unfilled(kernel));
    let (to, ends) = (steps.make_mut(), starts.make_mut());
    let mut n = 0;
    ends[0] = 0;
    for residue in 0..stride.min(size) {
        for e in 0..kernel {
            let distance = (residue + before) as i64 - (e * dilation) as i64;
            if distance.rem_euclid(stride as i64) == 0 {
                (to[n], numbers[n]) = (distance / stride as i64, e as i64);
                n += 1;
            }
        }
        ends[residue + 1] = n as i64;
    }
    (starts, steps)
}

impl Plan<'_> {
    fn new(g: &ConvGeometry) -> Plan<'_> {
        let mut numbers = Buffer::unfilled(g.kernel_h + g.kernel_w);
        let (rows, columns) = numbers.make_mut().split_at_mut(g.kernel_h);
        let (down_starts, down) = elements(g.in_h, g.kernel_h, g.dilation.0, g.stride.0, g.padding.0, rows);
        let (right_starts, right) = elements(g.in_w, g.kernel_w, g.dilation.1, g.stride.1, g.padding.2, columns);
        let (pixels, out_w, kernel_w) = ((g.out_h * g.out_w) as i64, g.out_w as i64, g.kernel_w as i64);
        let mut taps = Buffer::unfilled(g.kernel_h * g.kernel_w);
        let mut to = taps.make_mut().iter_mut();
        for a in down_starts.windows(2) {
            for b in right_starts.windows(2) {
                for (r, i) in (a[0] as usize..a[1] as usize).map(|e| (rows[e], down[e])) {
                    let of_row = (b[0] as usize..b[1] as usize)
                        .map(|e| (r * kernel_w + columns[e]) * pixels + i * out_w + right[e]);
                    to.by_ref().zip(of_row).for_each(|(to, tap)| *to = tap);
                }
            }
        }
        Plan { g, down_starts, right_starts, down, right, taps }
    }

    /// Pixels of a row with the same residue, at most.
    fn width(&self) -> usize {
        self.g.in_w.div_ceil(self.g.stride.1)
    }

    /// Steps of a plane: as many rows each as the stride has, of which the last one may lack some.
    fn steps(&self) -> usize {
        self.g.in_h.div_ceil(self.g.stride.0)
    }

    /// Elements between rows of sums that are made before they are put in turn, how many steps are made at once, and the elements
    /// of all of them.
    fn sums(&self) -> (usize, usize, usize) {
        let pitch = self.width() * self.g.stride.1.min(self.g.in_w);
        let rows = self.g.stride.0.min(self.g.in_h);
        let steps = (SUMS / pitch / rows).clamp(1, self.steps());
        (pitch, steps, if self.g.stride.1 == 1 { 0 } else { pitch * rows * steps })
    }

    /// The elements down that see outputs from a row, which is so many steps from the first one with its residue; and how many rows
    /// there are from it on with the same.
    fn seen(&self, a: usize, step: usize) -> (Range<usize>, usize) {
        let (first, end) = (self.down_starts[a] as usize, self.down_starts[a + 1] as usize);
        let (rows, step, out) = (&self.down[first..end], step as i64, self.g.out_h as i64);
        // Later elements see earlier outputs.
        let above = rows.iter().take_while(|&&i| step + i >= out).count();
        let seen = rows[above..].iter().take_while(|&&i| step + i >= 0).count();
        // Until an output ends, or another one begins.
        let ends = rows[above..above + seen].first().map_or(i64::MAX, |i| out - i);
        let begins = rows.get(above + seen).map_or(i64::MAX, |i| -i);
        (first + above..first + above + seen, (ends.min(begins) - step) as usize)
    }

    /// The elements right that see outputs from a column.
    fn columns(&self, b: usize) -> Range<usize> {
        self.right_starts[b] as usize..self.right_starts[b + 1] as usize
    }
}

/// Adds up the products of some rows of the planes of some channels.
struct Gather<'a, T> {
    plan: &'a Plan<'a>,
    /// Products of the first channel.
    z: *const T,
    /// As many rows each as the stride has, counted through from the first channel on.
    steps: Range<usize>,
    /// The plane of the first channel.
    gx: *mut T,
    /// For each residue down rows with all residues right one after the other, zero for those without elements of the kernel.
    sums: *mut T,
}

impl<T: Float> SimdBody<T> for Gather<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) {
        // What is never chosen is not compiled.
        if const { size_of::<T>() != 4 || S::REGISTERS < 16 } {
            return;
        }
        let (plan, g) = (self.plan, self.plan.g);
        let (all, most) = (plan.steps(), plan.sums().1);
        let mut at = self.steps.start;
        while at < self.steps.end {
            let (c, step) = (at / all, at % all);
            // Steps with the same taps, as many as there are sums for.
            let same = (0..g.stride.0.min(g.in_h)).map(|a| plan.seen(a, step).1).min().unwrap_or(1);
            let rows = Rows {
                plan,
                z: self.z.wrapping_add(c * g.kernel_h * g.kernel_w * g.out_h * g.out_w + step * g.out_w),
                step,
                count: same.min(most).min(self.steps.end - at).min(all - step),
                gx: self.gx.wrapping_add((c * g.in_h + step * g.stride.0) * g.in_w),
                sums: self.sums,
            };
            at += rows.count;
            // SAFETY: the caller's promise: these are some of the rows.
            unsafe { rows.write::<S, H>() };
        }
    }
}

/// Rows of a plane of which each residue has the same taps.
struct Rows<'a, T> {
    plan: &'a Plan<'a>,
    /// The product of the first pixel, before its taps.
    z: *const T,
    /// The first step, and how many.
    step: usize,
    count: usize,
    gx: *mut T,
    sums: *mut T,
}

impl<T: Float> Rows<'_, T> {
    #[inline(always)]
    unsafe fn write<S: Simd<T = T>, H: Simd<T = T>>(&self) {
        let (plan, g) = (self.plan, self.plan.g);
        let ((down, right), (pitch, most, _)) = (g.stride, plan.sums());
        let (residues, width) = (right.min(g.in_w), plan.width());
        let left = g.in_h - self.step * down;
        // Residues of which no row sees an output; the first ones are remembered.
        let mut unseen = 0u64;
        // SAFETY: the caller's promise. Each tap of a pixel that is added up lies inside of the rows of products.
        unsafe {
            for a in 0..down.min(left) {
                let seen = plan.seen(a, self.step).0;
                unseen |= u64::from(seen.is_empty() && a < 64) << (a % 64);
                let (first, end) = (plan.down_starts[a] as usize, plan.down_starts[a + 1] as usize);
                if seen.is_empty() {
                    continue;
                }
                for b in 0..residues {
                    let columns = plan.columns(b);
                    if columns.is_empty() {
                        continue;
                    }
                    let all = plan.columns(residues - 1).end;
                    let taps = first * all + (end - first) * columns.start + (seen.start - first) * columns.len();
                    let row = Row {
                        taps: &plan.taps[taps..][..seen.len() * columns.len()],
                        steps: &plan.right[columns],
                        out_w: g.out_w,
                        count: (g.in_w - b).div_ceil(right),
                    };
                    let (rows, to, apart) = if right == 1 {
                        (self.count.min((left - a).div_ceil(down)), self.gx.add(a * g.in_w), down * g.in_w)
                    } else {
                        (self.count, self.sums.add(a * most * pitch + b * width), pitch)
                    };
                    row.sum::<S, H>(self.z, rows, to, apart);
                }
            }
            for i in 0..self.count {
                for a in 0..down.min(left - i * down) {
                    let gx = self.gx.add((i * down + a) * g.in_w);
                    let sums = self.sums.wrapping_add((a * most + i) * pitch);
                    let none = if a < 64 { unseen >> a & 1 == 1 } else { plan.seen(a, self.step).0.is_empty() };
                    if none || right > 3 {
                        std::slice::from_raw_parts_mut(gx, g.in_w).fill(T::ZERO);
                    }
                    match right {
                        _ if none => {}
                        1 => {}
                        2 => in_turn::<S, H>(sums, sums.add(width), gx, g.in_w),
                        3 => thirds(sums, width, gx, g.in_w),
                        _ => {
                            for b in (0..residues).filter(|&b| !plan.columns(b).is_empty()) {
                                for j in 0..(g.in_w - b).div_ceil(right) {
                                    *gx.add(b + j * right) = *sums.add(b * width + j);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The pixels of a row with the same residue.
struct Row<'a> {
    taps: &'a [i64],
    /// The outputs of a row from that of a pixel on, as in [`Plan`]; the taps have all of them for each row of the kernel.
    steps: &'a [i64],
    out_w: usize,
    count: usize,
}

impl Row<'_> {
    /// Writes all sums of some rows.
    #[inline(always)]
    unsafe fn sum<S: Simd, H: Simd<T = S::T>>(&self, z: *const S::T, rows: usize, to: *mut S::T, pitch: usize) {
        // The pixels that see an output by all elements.
        let (mut from, mut end) = (0, self.count);
        for &step in self.steps {
            let last = (self.out_w as i64 - step).clamp(0, self.count as i64);
            (from, end) = (from.max((-step).clamp(0, last) as usize), end.min(last as usize));
        }
        // SAFETY: the caller's promise.
        unsafe {
            if from + S::N <= end {
                self.vectors::<S>((from, end), z, rows, to, pitch);
            } else if from + H::N <= end {
                self.vectors::<H>((from, end), z, rows, to, pitch);
            } else {
                (from, end) = (self.count, self.count);
            }
            for pixels in [0..from, end..self.count] {
                self.few(pixels, z, rows, to, pitch);
            }
        }
    }

    /// Pixels that do not see an output by each element: element by element.
    #[inline(always)]
    unsafe fn few<T: Float>(&self, pixels: Range<usize>, z: *const T, rows: usize, to: *mut T, pitch: usize) {
        for i in if pixels.is_empty() { 0..0 } else { 0..rows } {
            let (z, to) = (z.wrapping_add(i * self.out_w), to.wrapping_add(i * pitch));
            // SAFETY: the caller's promise.
            unsafe {
                pixels.clone().for_each(|j| *to.add(j) = T::ZERO);
                for taps in self.taps.chunks_exact(self.steps.len().max(1)) {
                    for (&tap, &step) in taps.iter().zip(self.steps) {
                        let first = (-step).max(pixels.start as i64);
                        for j in first..(self.out_w as i64 - step).min(pixels.end as i64) {
                            *to.offset(j as isize) = *to.offset(j as isize) + *z.wrapping_offset((tap + j) as isize);
                        }
                    }
                }
            }
        }
    }

    /// At least a vector of pixels that see an output by all elements; the last vector overlaps.
    #[inline(always)]
    unsafe fn vectors<S: Simd>(
        &self,
        (from, end): (usize, usize),
        z: *const S::T,
        rows: usize,
        to: *mut S::T,
        pitch: usize,
    ) {
        for i in 0..rows {
            let (z, to) = (z.wrapping_add(i * self.out_w), to.wrapping_add(i * pitch));
            for j in (from..end).step_by(S::N) {
                let j = j.min(end - S::N);
                // SAFETY: the caller's promise.
                unsafe {
                    let mut sum = S::zero();
                    for &tap in self.taps {
                        sum = S::add(sum, S::load(z.wrapping_offset(tap as isize + j as isize)));
                    }
                    S::store(to.add(j), sum);
                }
            }
        }
    }
}

/// Writes `n` elements of two rows in turn.
#[inline(always)]
unsafe fn in_turn<S: Simd, H: Simd<T = S::T>>(a: *const S::T, b: *const S::T, to: *mut S::T, n: usize) {
    #[inline(always)]
    unsafe fn pairs<S: Simd>(a: *const S::T, b: *const S::T, to: *mut S::T, pairs: usize) {
        for j in (0..pairs).step_by(S::N) {
            let j = j.min(pairs - S::N);
            // SAFETY: the caller's promise.
            unsafe {
                let [low, high] = S::zip(S::load(a.add(j)), S::load(b.add(j)));
                S::store(to.add(2 * j), low);
                S::store(to.add(2 * j + S::N), high);
            }
        }
    }
    // SAFETY: the caller's promise.
    unsafe {
        if n / 2 >= S::N {
            pairs::<S>(a, b, to, n / 2);
        } else if n / 2 >= H::N {
            pairs::<H>(a, b, to, n / 2);
        } else {
            for j in 0..n / 2 {
                (*to.add(2 * j), *to.add(2 * j + 1)) = (*a.add(j), *b.add(j));
            }
        }
        if n % 2 == 1 {
            *to.add(n - 1) = *a.add(n / 2);
        }
    }
}

/// Writes `n` elements of three rows in turn, which are `width` elements apart.
#[inline(always)]
unsafe fn thirds<T: Float>(from: *const T, width: usize, to: *mut T, n: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        for j in 0..n / 3 {
            *to.add(3 * j) = *from.add(j);
            *to.add(3 * j + 1) = *from.add(width + j);
            *to.add(3 * j + 2) = *from.add(2 * width + j);
        }
        for i in n / 3 * 3..n {
            *to.add(i) = *from.add(i % 3 * width + n / 3);
        }
    }
}

/// Weights in the order in which the tiles read them: group, block of rows, output channel, row.
fn pack<T: Float>(g: &ConvGeometry, w: &[T], blocks: &[usize]) -> Buffer<T> {
    let (inner, rows) = (g.group_out(), g.group_in() * g.kernel_h * g.kernel_w);
    let mut packed = Buffer::unfilled(w.len());
    for (packed, w) in packed.make_mut().chunks_exact_mut(inner * rows).zip(w.chunks_exact(inner * rows)) {
        for block in blocks.windows(2) {
            let n = block[1] - block[0];
            let to = packed[block[0] * inner..block[1] * inner].chunks_exact_mut(n);
            for (to, from) in to.zip(w[block[0]..].chunks(rows)) {
                // A length that is known needs no call.
                match (to.first_chunk_mut::<8>(), from.first_chunk::<8>()) {
                    (Some(to), Some(from)) if n == 8 => *to = *from,
                    _ => to.iter_mut().zip(from).for_each(|(to, from)| *to = *from),
                }
            }
        }
    }
    packed
}
