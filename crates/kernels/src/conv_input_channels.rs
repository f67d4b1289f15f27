//! Convolution backward-data with vectors of input channels, for rows of gradients that would leave much of a vector of pixels empty.
//!
//! The plain loop, for one padded gradient: `gx[p][c] = sum over k and the taps t that meet p of gy[k][pixel[p] + tap[t]] * w[k][t][c]`.
//! The pixels of a *part*, a residue of the position modulo the stride, are met by the same taps.
//!
//! The tricks: tiles are those of the forward pass (`conv_channels`), and put each vector of channels where its pixel belongs, so
//! that the parts of a strided convolution meet in one image that is transposed at once, while it is in the cache. Images go
//! through in *bands* of rows, small enough for the cache and many enough for the threads; taps that see nothing but padding
//! from a band are left out of it.

use crate::buffer::Buffer;
use crate::conv::ConvGeometry;
use crate::conv_channels::{FEWEST, Sweep, pointers, sweep};
use crate::conv_direct::{Residue, gradient_planes, residues};
use crate::conv_parts::lanes;
use crate::element::Float;
use crate::isa::Isa;
use crate::par::{self, Shared};
use crate::planes::Planes;
use crate::transpose::{transpose, transpose_to};
use std::ops::Range;

/// Bytes of results that wait for their transpose.
const WAITING: usize = 128 << 10;
/// Pieces of work that there should be, so that all threads are done at about the same time.
const SHARES: usize = 8;
/// Pixels of a part that a band should have at least.
const ENOUGH: usize = 20;

/// The pixels of a part in a band.
struct Piece {
    /// In the lists of pixels.
    pixels: Range<usize>,
    /// In the list of taps.
    taps: Range<usize>,
}

/// Rows of an image.
struct Band {
    rows: Range<usize>,
    pieces: Range<usize>,
}

/// What the taps and pixels of all images have in common.
struct Plan {
    planes: Planes,
    bands: Vec<Band>,
    pieces: Vec<Piece>,
    /// Pairs of a tap, and where pixels are in the planes.
    taps: Buffer<i64>,
    pixels: Buffer<i64>,
    /// Where pixels are in the image.
    places: Buffer<i64>,
    /// For each element of the kernel the place of its first tap in the list, and how many follow until that of the next channel;
    /// none for elements that no position of the image meets.
    elements: Vec<(usize, usize)>,
}

/// Elements of the kernel along one axis that meet a residue: which, and how far from the first step they are.
fn meeting(residue: &Residue, kernel: usize, dilation: usize, stride: usize) -> Vec<(usize, usize)> {
    let reach = (kernel - 1) * dilation / stride;
    let all = (0..kernel).filter(|e| e * dilation % stride == residue.residue);
    all.map(|e| (e, reach - e * dilation / stride)).collect()
}

/// The rows of the kernel, among those that meet a row of a part, that see the inside of the gradient.
fn visible(in_rows: &[(usize, usize)], top: usize, inside: &Range<usize>) -> Range<usize> {
    let sees = |(_, i): &&(usize, usize)| inside.contains(&(top + i));
    let skipped = in_rows.iter().take_while(|row| !sees(row)).count();
    skipped..skipped + in_rows[skipped..].iter().take_while(sees).count()
}

/// Rows of a part in runs that have the same taps, or for which it takes no longer to have those of their neighbours too.
fn alike(
    isa: Isa,
    rows: Range<usize>,
    width: usize,
    seen: impl Fn(usize) -> Range<usize>,
) -> Vec<(Range<usize>, Range<usize>)> {
    let mut runs: Vec<(Range<usize>, Range<usize>)> = Vec::new();
    let cost = |rows: usize, taps: &Range<usize>| {
        let all = (rows * width).max(FEWEST);
        let tile = pointers(isa, true, 1, all);
        // Some products of a tap's worth for starting a tile.
        all.div_ceil(tile) * (tile + 1) * (4 * taps.len() + 1)
    };
    for row in rows {
        let taps = seen(row);
        if let Some((rows, common)) = runs.last_mut() {
            let all = match (Range::is_empty(common), Range::is_empty(&taps)) {
                (true, _) => taps.clone(),
                (_, true) => common.clone(),
                _ => common.start.min(taps.start)..common.end.max(taps.end),
            };
            let apart = cost(rows.len(), common) + cost(1, &taps);
            if *common == taps || cost(rows.len() + 1, &all) <= apart {
                (rows.end, *common) = (row + 1, all);
                continue;
            }
        }
        runs.push((row..row + 1, taps));
    }
    runs
}

impl Plan {
    /// The plan for bands of so many rows, a multiple of the stride.
    fn new(isa: Isa, g: &ConvGeometry, height: usize) -> Plan {
        let (down, right) = (residues(g.in_h, g.padding.0, g.stride.0), residues(g.in_w, g.padding.2, g.stride.1));
        let (mut planes, (low_h, low_w)) = gradient_planes(g, &down, &right, true);
        // The channels of a group are an image of their own.
        planes.channels = g.group_out();
        let inside = planes.rows.inside(0).0;
        let (channels, channel, pitch) = (g.group_out(), planes.channel(), planes.pitch);

        // Taps in the order part, row of the kernel, channel, column of the kernel.
        let mut taps = Buffer::unfilled(2 * channels * g.kernel_h * g.kernel_w);
        let mut list = taps.make_mut().as_chunks_mut::<2>().0.iter_mut().zip(0..);
        let mut elements = vec![(0, 0); g.kernel_h * g.kernel_w];
        let mut parts = Vec::with_capacity(down.len() * right.len());
        let mut count = 0;
        for a in &down {
            let in_rows = meeting(a, g.kernel_h, g.dilation.0, g.stride.0);
            for b in &right {
                let in_columns = meeting(b, g.kernel_w, g.dilation.1, g.stride.1);
                parts.push((a, b, count, in_rows.clone(), channels * in_columns.len()));
                for &(r, i) in &in_rows {
                    for (at, &(s, _)) in in_columns.iter().enumerate() {
                        elements[r * g.kernel_w + s] = (count + at, in_columns.len());
                    }
                    let offsets =
                        (0..channels).flat_map(|c| in_columns.iter().map(move |&(_, j)| c * channel + i * pitch + j));
                    offsets.zip(list.by_ref()).for_each(|(offset, (to, place))| *to = [offset as i64, place]);
                    count += channels * in_columns.len();
                }
            }
        }

        let bands = g.in_h.div_ceil(height);
        let most = g.in_h * g.in_w + FEWEST * g.in_h * right.len();
        let (mut pixels, mut places) = (Buffer::unfilled(most), Buffer::unfilled(most));
        let mut plan = Plan {
            bands: Vec::with_capacity(bands),
            pieces: Vec::with_capacity(bands * parts.len()),
            planes,
            taps,
            pixels: Buffer::unfilled(0),
            places: Buffer::unfilled(0),
            elements,
        };
        let (from, to) = (pixels.make_mut(), places.make_mut());
        let mut n = 0;
        for band in 0..bands {
            let (rows, first) = (band * height..g.in_h.min((band + 1) * height), plan.pieces.len());
            for (a, b, start, in_rows, row_taps) in &parts {
                // All rows of the residue above a band are in the bands above it.
                let steps = a.count.min(band * height / g.stride.0)..a.count.min((band + 1) * height / g.stride.0);
                let seen = |i: usize| visible(in_rows, a.step - low_h + i, &inside);
                for (steps, seen) in alike(isa, steps, b.count, seen) {
                    let begin = n;
                    for i in steps {
                        let line = (a.step - low_h + i) * pitch + b.step - low_w;
                        let place = (a.first + i * g.stride.0) * g.in_w + b.first;
                        for j in 0..b.count {
                            (from[n], to[n]) = ((line + j) as i64, (place + j * g.stride.1) as i64);
                            n += 1;
                        }
                    }
                    // A tile needs some pixels; the last one may be computed several times.
                    while n < begin + FEWEST {
                        (from[n], to[n]) = (from[n - 1], to[n - 1]);
                        n += 1;
                    }
                    let taps = start + seen.start * row_taps..start + seen.end * row_taps;
                    plan.pieces.push(Piece { pixels: begin..n, taps });
                }
            }
            plan.bands.push(Band { rows, pieces: first..plan.pieces.len() });
        }
        (plan.pixels, plan.places) = (pixels, places);
        plan
    }
}

/// Rows of a band: a multiple of the stride that fits into the cache, and leaves something to do for each thread. It does not
/// depend on their number: a band has some taps of zeros, which an infinite weight would show.
fn band_height(g: &ConvGeometry, items: usize, row_bytes: usize) -> usize {
    let stride = g.stride.0;
    let room = WAITING / row_bytes.max(1);
    let mut bands = SHARES.div_ceil(items);
    while items * bands < 4 * SHARES && !(items * bands).is_multiple_of(4) {
        bands += 1;
    }
    let enough = ENOUGH.div_ceil(g.in_w.div_ceil(g.stride.1)) * stride;
    room.min(g.in_h.div_ceil(bands).max(enough)).next_multiple_of(stride)
}

/// [`crate::conv::conv2d_input`] for a geometry with something to compute.
pub(crate) fn conv2d_input<T: Float>(isa: Isa, g: &ConvGeometry, w: &[T], gy: &[T], gx: &mut [T]) {
    let (full, kernel, inner, outer) = (lanes::<T>(isa), g.kernel_h * g.kernel_w, g.group_out(), g.group_in());
    let block = if outer > full { 2 * full } else { full };
    let blocks = outer.div_ceil(block);
    let images = g.batch * g.groups;
    let plan = Plan::new(isa, g, band_height(g, images * blocks, g.in_w * block * size_of::<T>()));
    let packed = pack(isa, g, w, &plan, block);
    let group_len = outer.next_multiple_of(full) * inner * kernel;
    let (image, plane, planes) = (inner * g.out_h * g.out_w, g.in_h * g.in_w, &plan.planes);
    let start = Buffer::zeroed(block);
    let height = plan.bands.iter().map(|b| b.rows.len()).max().unwrap_or(0);
    let gx = Shared(gx.as_mut_ptr());
    let units = blocks * plan.bands.len();
    par::for_each_range(images * units, g.work() / (g.groups * units), |range| {
        let mut copy = Buffer::zeroed(if planes.in_place { 0 } else { planes.channels * planes.channel() });
        let mut results: Buffer<T> = Buffer::unfilled(height * g.in_w * block);
        let results = results.make_mut();
        let mut held = usize::MAX;
        for unit in range {
            // The channels of a group are an image of their own.
            let (n, b, band) = (unit / units, unit % units / plan.bands.len(), &plan.bands[unit % plan.bands.len()]);
            let source = &gy[n * image..(n + 1) * image];
            if !planes.in_place && held != n {
                planes.fill(isa, planes.channels, source, copy.make_mut());
                held = n;
            }
            let channels = block.min(outer - b * block);
            let width = channels.next_multiple_of(full);
            let weights = n % g.groups * group_len + b * block * inner * kernel;
            for piece in &plan.pieces[band.pieces.clone()] {
                let all = Sweep {
                    x: if planes.in_place { source } else { &copy[..] }.as_ptr(),
                    taps: &plan.taps.as_chunks().0[piece.taps.clone()],
                    pixels: &plan.pixels[piece.pixels.clone()],
                    places: &plan.places[piece.pixels.clone()],
                    start: start.as_ptr(),
                    w: packed[weights..].as_ptr(),
                    y: results.as_mut_ptr().wrapping_sub(band.rows.start * g.in_w * width),
                    isa,
                    run: 1,
                    wide: width > full,
                    relu: false,
                    far: false,
                };
                // SAFETY: the set comes from detection. Each tap of each pixel is inside of the planes, the packed weights
                // hold a vector for each tap, and the pixels of a band have room among the results.
                unsafe { sweep(all) };
            }
            let count = band.rows.len() * g.in_w;
            // SAFETY: these rows of the planes of these channels of this image belong to this unit.
            unsafe {
                let to = gx.get().add((n * outer + b * block) * plane + band.rows.start * g.in_w);
                transpose_to(isa, (count, channels), results, width, to, plane);
            }
        }
    });
}

/// Weights in the order of the taps, with the input channels of a block next to each other.
fn pack<T: Float>(isa: Isa, g: &ConvGeometry, w: &[T], plan: &Plan, block: usize) -> Buffer<T> {
    let (full, kernel, inner, outer) = (lanes::<T>(isa), g.kernel_h * g.kernel_w, g.group_out(), g.group_in());
    let (blocks, group_len) = (outer.div_ceil(block), outer.next_multiple_of(full) * inner * kernel);
    let mut packed: Buffer<T> = Buffer::unfilled(g.groups * group_len);
    let to = Shared(packed.make_mut().as_mut_ptr());
    par::for_each_range(g.groups * blocks * inner, 4 * block * kernel, |range| {
        // Lanes without a channel stay zero.
        let mut turned = Buffer::zeroed(kernel * block);
        let turned = turned.make_mut();
        for item in range {
            let (group, b, k) = (item / (blocks * inner), item / inner % blocks, item % inner);
            let channels = block.min(outer - b * block);
            let width = channels.next_multiple_of(full);
            if width < block && channels < width {
                turned.fill(T::ZERO);
            }
            let from = &w[((group * inner + k) * outer + b * block) * kernel..][..channels * kernel];
            if kernel == 1 {
                turned[..channels].copy_from_slice(from);
            } else {
                transpose(isa, (channels, kernel), from, kernel, turned, width);
            }
            let elements = plan.elements.iter().zip(turned.chunks_exact(width));
            for (&(first, step), line) in elements.filter(|((_, step), _)| *step > 0) {
                let at = group * group_len + b * block * inner * kernel + (first + k * step) * width;
                // SAFETY: the vectors of this tap belong to this item, and are inside of the packed weights.
                unsafe { std::ptr::copy_nonoverlapping(line.as_ptr(), to.get().add(at), width) };
            }
        }
    });
    packed
}
