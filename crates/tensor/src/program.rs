//! Programs: what a step computed, written down so that it can be run again without checks and without a graph.
//!
//! While a thread records, operators hand their computation to [`compute`] or [`change`]: a function of values that depends on
//! nothing else. It runs at once and is kept, with the slots that its operands and its result have in the program. Slots are
//! found by the addresses of buffers: one that nobody has written here belongs to the world outside, and stays as it is.
//! What cannot be repeated refuses the program, so that nothing is left out silently.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};

use smallvec::SmallVec;

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::shape::Shape;
use crate::value::Value;

/// The values of a program while it runs.
type Slots = [Option<Value>];

/// Runs one step, from the slots that it reads to those that it writes.
type Run = Box<dyn Fn(&mut Slots, &Step) -> Result<()> + Send + Sync>;

/// Where a step has the memory of its first result from.
#[derive(Clone, Copy)]
enum Memory {
    /// The step is given it, or needs none.
    Given,
    /// A spare of the same shape and dtype.
    Spare,
    /// Perhaps that of this operand.
    Operand(usize),
}

struct Step {
    reads: SmallVec<[usize; 4]>,
    writes: SmallVec<[usize; 2]>,
    memory: Memory,
    /// The place where a spare waits.
    place: Option<usize>,
    /// The slots that are used for the last time.
    dead: SmallVec<[usize; 4]>,
    run: Run,
}

/// A recorded step.
pub(crate) struct Program {
    steps: Vec<Step>,
    slots: Vec<Option<Value>>,
    inputs: Vec<usize>,
    output: usize,
    /// Which slots hold constants.
    constants: Vec<bool>,
    /// The place that the memory of each slot goes back to.
    homes: Vec<Option<usize>>,
    /// Memory that waits at its place for the next result.
    spares: Vec<Option<Value>>,
}

/// What the recorder knows of a buffer.
enum Known {
    /// It holds what is in a slot, which has this layout.
    Slot(usize, Layout),
    /// An operation wrote it that cannot be repeated.
    Unknown(&'static str),
}

#[derive(Default)]
struct Recorder {
    steps: Vec<Step>,
    /// What the slots hold.
    slots: Vec<(DType, Shape)>,
    constants: Vec<(usize, Value)>,
    /// By the addresses of buffers.
    known: HashMap<usize, Known>,
    refused: Option<String>,
}

/// What a thread does at the moment.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Plain,
    Recording,
    /// It records, but not what happens now.
    Quiet,
    Repeating,
}

thread_local! {
    static MODE: Cell<Mode> = const { Cell::new(Mode::Plain) };
    static RECORDER: RefCell<Option<Recorder>> = const { RefCell::new(None) };
    /// The memory for the result of the step that is repeated.
    static SPARE: Cell<Option<Value>> = const { Cell::new(None) };
}

/// Whether what happens now on this thread is to be recorded.
#[inline]
pub(crate) fn recording() -> bool {
    MODE.get() == Mode::Recording
}

/// Runs `f` in another mode.
#[inline]
fn within<R>(mode: Mode, f: impl FnOnce() -> R) -> R {
    struct Restore(Mode);
    impl Drop for Restore {
        fn drop(&mut self) {
            MODE.set(self.0);
        }
    }
    let _restore = Restore(MODE.replace(mode));
    f()
}

/// Runs `f` without recording.
pub(crate) fn quietly<R>(f: impl FnOnce() -> R) -> R {
    within(if recording() { Mode::Quiet } else { MODE.get() }, f)
}

/// Whether nothing is recorded or repeated.
#[inline]
pub(crate) fn is_plain() -> bool {
    MODE.get() == Mode::Plain
}

/// Memory for a result, if a step is repeated and has some that nobody holds.
pub(crate) fn spare(dtype: DType, shape: &Shape) -> Option<Value> {
    // A step that failed may have left some.
    let mut value = SPARE.take().filter(|_| MODE.get() == Mode::Repeating)?;
    (value.dtype() == dtype && value.shape() == shape && value.is_unique()).then_some(value)
}

/// Calls `f` with the recorder of this thread.
fn recorder<R>(f: impl FnOnce(&mut Recorder) -> R) -> R {
    RECORDER.with_borrow_mut(|recorder| f(recorder.as_mut().expect("a thread that records has a recorder")))
}

impl Recorder {
    fn slot(&mut self, dtype: DType, shape: &Shape) -> usize {
        self.slots.push((dtype, shape.clone()));
        self.slots.len() - 1
    }

    /// The slot that holds `value`, which becomes a constant if it comes from outside.
    fn read(&mut self, value: &Value) -> usize {
        match self.known.get(&value.storage.address()) {
            Some(Known::Slot(slot, layout)) if *layout == value.layout => *slot,
            Some(Known::Slot(slot, layout)) => {
                if self.is_constant(*slot) {
                    return self.constant(value);
                }
                let (from, mut seen) = (*slot, value.layout.clone());
                // What runs later may start elsewhere in its buffer.
                seen.offset = seen.offset.wrapping_sub(layout.offset);
                self.view(from, value.dtype(), seen)
            }
            Some(Known::Unknown(op)) => {
                let message = format!("{op} cannot be repeated");
                self.refused.get_or_insert(message);
                0
            }
            None => self.constant(value),
        }
    }

    fn is_constant(&self, slot: usize) -> bool {
        self.constants.iter().any(|(constant, _)| *constant == slot)
    }

    fn constant(&mut self, value: &Value) -> usize {
        let slot = self.slot(value.dtype(), value.shape());
        self.constants.push((slot, value.clone()));
        self.known.insert(value.storage.address(), Known::Slot(slot, value.layout.clone()));
        slot
    }

    fn view(&mut self, from: usize, dtype: DType, layout: Layout) -> usize {
        let to = self.slot(dtype, &layout.shape);
        let run = move |slots: &mut Slots, _: &Step| {
            let whole = held(slots, from);
            let offset = layout.offset.wrapping_add(whole.layout.offset);
            slots[to] = Some(whole.with_layout(Layout { offset, ..layout.clone() }));
            Ok(())
        };
        self.push(&[from], &[to], Memory::Given, Box::new(run));
        to
    }

    /// A slot for what is in `value` from now on.
    fn write(&mut self, value: &Value) -> usize {
        let slot = self.slot(value.dtype(), value.shape());
        self.known.insert(value.storage.address(), Known::Slot(slot, value.layout.clone()));
        slot
    }

    fn push(&mut self, reads: &[usize], writes: &[usize], memory: Memory, run: Run) {
        let (reads, writes) = (SmallVec::from_slice(reads), SmallVec::from_slice(writes));
        self.steps.push(Step { reads, writes, memory, place: None, dead: SmallVec::new(), run });
    }

    fn finish(mut self, inputs: Vec<usize>, output: usize) -> Program {
        let mut later: HashSet<usize> = self.constants.iter().map(|(slot, _)| *slot).collect();
        later.insert(output);
        for step in self.steps.iter_mut().rev() {
            let used = step.reads.iter().chain(&step.writes);
            step.dead = used.copied().filter(|&slot| later.insert(slot)).collect();
        }
        let (homes, places) = plan(&mut self.steps, &self.slots);
        let mut slots = vec![None; self.slots.len()];
        self.constants.into_iter().for_each(|(slot, value)| slots[slot] = Some(value));
        let constants = slots.iter().map(Option::is_some).collect();
        Program { steps: self.steps, slots, inputs, output, constants, homes, spares: vec![None; places] }
    }
}

/// Plans the memory: a result takes the place of one of its shape and dtype that nobody needs any more. Gives the home of each
/// slot and the number of places.
fn plan(steps: &mut [Step], slots: &[(DType, Shape)]) -> (Vec<Option<usize>>, usize) {
    let mut free: HashMap<&(DType, Shape), Vec<usize>> = HashMap::new();
    let (mut homes, mut places) = (vec![None; slots.len()], 0);
    for step in steps {
        match step.memory {
            Memory::Given => {}
            Memory::Spare => {
                let slot = step.writes[0];
                let place = free.entry(&slots[slot]).or_default().pop().unwrap_or_else(|| {
                    places += 1;
                    places - 1
                });
                (homes[slot], step.place) = (Some(place), Some(place));
            }
            Memory::Operand(operand) if step.dead.contains(&operand) => homes[step.writes[0]] = homes[operand].take(),
            Memory::Operand(_) => {}
        }
        for &slot in &step.dead {
            if let Some(place) = homes[slot] {
                free.entry(&slots[slot]).or_default().push(place);
            }
        }
    }
    (homes, places)
}

fn held(slots: &Slots, slot: usize) -> &Value {
    slots[slot].as_ref().expect("steps run in the order in which they were recorded")
}

/// The slots of some values.
fn reads(values: &[&Value]) -> SmallVec<[usize; 4]> {
    recorder(|r| values.iter().map(|value| r.read(value)).collect())
}

/// Adds a step with results of its own to what is recorded.
fn add(inputs: &[&Value], results: &[&Value], run: Run) {
    let reads = reads(inputs);
    recorder(|r| {
        let writes: SmallVec<[usize; 2]> = results.iter().map(|value| r.write(value)).collect();
        r.push(&reads, &writes, Memory::Spare, run);
    });
}

/// The first values that a step reads.
#[inline]
fn operands<'a, const N: usize>(slots: &'a Slots, step: &Step) -> [&'a Value; N] {
    std::array::from_fn(|i| held(slots, step.reads[i]))
}

/// `f(inputs)`, where `f` depends on nothing but its arguments.
#[inline(always)]
pub(crate) fn compute<const N: usize>(
    inputs: [&Value; N],
    f: impl Fn([&Value; N]) -> Result<Value> + Send + Sync + 'static,
) -> Result<Value> {
    if !recording() {
        return f(inputs);
    }
    let run = move |slots: &mut Slots, step: &Step| {
        let y = f(operands(slots, step))?;
        slots[step.writes[0]] = Some(y);
        Ok(())
    };
    computed(&inputs, Box::new(run)).map(|[y]| y)
}

/// As [`compute`], where `f` also depends on something that is copied only if it is kept.
#[inline(always)]
pub(crate) fn compute_by<C: Copy + Send + Sync + 'static, const N: usize>(
    context: &C,
    inputs: [&Value; N],
    f: impl Fn(&C, [&Value; N]) -> Result<Value> + Send + Sync + 'static,
) -> Result<Value> {
    if !recording() {
        return f(context, inputs);
    }
    let context = *context;
    compute(inputs, move |inputs| f(&context, inputs))
}

/// As [`compute`], for two results.
#[inline(always)]
pub(crate) fn compute_two<const N: usize>(
    inputs: [&Value; N],
    f: impl Fn([&Value; N]) -> Result<(Value, Value)> + Send + Sync + 'static,
) -> Result<(Value, Value)> {
    if !recording() {
        return f(inputs);
    }
    let run = move |slots: &mut Slots, step: &Step| {
        let (y, z) = f(operands(slots, step))?;
        (slots[step.writes[0]], slots[step.writes[1]]) = (Some(y), Some(z));
        Ok(())
    };
    computed(&inputs, Box::new(run)).map(|[y, z]| (y, z))
}

/// Runs a step on slots of its own, so that what it does is compiled once, and adds it to what is recorded.
#[cold]
fn computed<const M: usize>(inputs: &[&Value], run: Run) -> Result<[Value; M]> {
    let n = inputs.len();
    let mut slots: Vec<Option<Value>> = inputs.iter().map(|&value| Some(value.clone())).collect();
    slots.resize(n + M, None);
    let (reads, writes) = ((0..n).collect(), (n..n + M).collect());
    let step = Step { reads, writes, memory: Memory::Given, place: None, dead: SmallVec::new(), run };
    quietly(|| (step.run)(&mut slots, &step))?;
    let results: [Value; M] = std::array::from_fn(|i| slots[n + i].take().expect("the step has written its results"));
    add(inputs, &results.each_ref(), step.run);
    Ok(results)
}

/// `f(value, inputs)`, as [`compute`], for a value that is not used any more: `f` may write its result over it.
#[inline(always)]
pub(crate) fn change<const N: usize>(
    value: Value,
    inputs: [&Value; N],
    f: impl Fn(Value, [&Value; N]) -> Result<Value> + Send + Sync + 'static,
) -> Result<Value> {
    if recording() { changed(value, inputs, f) } else { f(value, inputs) }
}

#[cold]
fn changed<const N: usize>(
    value: Value,
    inputs: [&Value; N],
    f: impl Fn(Value, [&Value; N]) -> Result<Value> + Send + Sync + 'static,
) -> Result<Value> {
    let mut reads = reads(&inputs);
    let target = recorder(|r| r.read(&value));
    let y = quietly(|| f(value, inputs))?;
    let run = move |slots: &mut Slots, step: &Step| {
        let value = if step.dead.contains(&target) { slots[target].take() } else { slots[target].clone() };
        let value = value.expect("steps run in the order in which they were recorded");
        let y = f(value, operands(slots, step))?;
        slots[step.writes[0]] = Some(y);
        Ok(())
    };
    let run = Box::new(run);
    recorder(|r| {
        reads.push(target);
        let write = r.write(&y);
        r.push(&reads, &[write], Memory::Operand(target), run);
    });
    Ok(y)
}

/// Notes that `value` is the same each time.
pub(crate) fn constant(value: &Value) {
    if recording() {
        recorder(|r| {
            r.constant(value);
        });
    }
}

/// Notes that `value` comes from `source`, which gives the one of that time.
pub(crate) fn source(value: &Value, source: impl Fn() -> Result<Value> + Send + Sync + 'static) {
    recorder(|r| {
        if !matches!(r.known.get(&value.storage.address()), Some(Known::Slot(..))) {
            let slot = r.write(value);
            let run = move |slots: &mut Slots, _: &Step| {
                slots[slot] = Some(source()?);
                Ok(())
            };
            r.push(&[], &[slot], Memory::Given, Box::new(run));
        }
    });
}

/// Notes that `value` goes to `sink` each time.
pub(crate) fn sink(value: &Value, sink: impl Fn(Value) -> Result<()> + Send + Sync + 'static) {
    recorder(|r| {
        let slot = r.read(value);
        let run = move |slots: &mut Slots, _: &Step| sink(held(slots, slot).clone());
        r.push(&[slot], &[], Memory::Given, Box::new(run));
    });
}

/// Notes that `op` has made `value` in a way that is not recorded: it cannot be repeated, or is none of the program's business.
/// Its memory may be that of a value which is gone, for which it must not be taken.
#[cold]
pub(crate) fn made(op: &'static str, value: &Value) {
    let address = value.storage.address();
    match MODE.get() {
        Mode::Recording => recorder(|r| drop(r.known.insert(address, Known::Unknown(op)))),
        Mode::Quiet => recorder(|r| drop(r.known.remove(&address))),
        Mode::Plain | Mode::Repeating => {}
    }
}

/// The program cannot be repeated; `why` says what stands against it.
#[cold]
pub(crate) fn refuse(why: &str) {
    recorder(|r| {
        r.refused.get_or_insert_with(|| why.to_owned());
    });
}

/// Notes that somebody looks at the elements of `value`: it must be the same each time.
#[cold]
pub(crate) fn look(value: &Value) {
    recorder(|r| {
        let slot = r.read(value);
        if !r.is_constant(slot) {
            r.refused.get_or_insert_with(|| "the step looks at elements that differ from run to run".to_owned());
        }
    });
}

/// Runs `f` with copies of the inputs, whose result is the output, and records what it does.
pub(crate) fn record(inputs: &[Value], f: impl FnOnce(Vec<Value>) -> Result<Value>) -> Result<(Value, Program)> {
    struct Stop;
    impl Drop for Stop {
        fn drop(&mut self) {
            MODE.set(Mode::Plain);
            RECORDER.take();
        }
    }
    alone()?;
    // Copies, because a view shares its buffer with what the step may use besides.
    let copies = inputs.iter().map(Value::copy).collect::<Result<Vec<_>>>()?;
    let mut new = Recorder::default();
    let slots = copies.iter().map(|copy| new.write(copy)).collect();
    RECORDER.set(Some(new));
    let _stop = Stop;
    let kept = copies.clone();
    let y = within(Mode::Recording, || f(copies))?;
    drop(kept);
    let mut recorder = RECORDER.take().expect("nobody else takes it");
    let output = recorder.read(&y);
    match recorder.refused {
        Some(why) => Err(Error::argument("captured step", why)),
        None => Ok((y, recorder.finish(slots, output))),
    }
}

/// Refuses to record or to repeat while another step is recorded.
fn alone() -> Result<()> {
    if RECORDER.with_borrow(Option::is_some) {
        return Err(Error::argument("captured step", "another one is being recorded; run one of them outside"));
    }
    Ok(())
}

impl Program {
    /// Runs it again for inputs of the same shapes and dtypes.
    pub(crate) fn run(&mut self, inputs: impl Iterator<Item = Value>) -> Result<Value> {
        alone()?;
        for (value, &slot) in inputs.zip(&self.inputs) {
            self.slots[slot] = Some(value.into_contiguous()?);
        }
        let done = within(Mode::Repeating, || self.steps());
        let y = self.slots[self.output].clone();
        if done.is_err() {
            // What the steps that did not run would have freed.
            (0..self.slots.len()).for_each(|slot| self.free(slot));
        }
        (0..self.inputs.len()).for_each(|i| self.free(self.inputs[i]));
        self.free(self.output);
        done.map(|()| y.expect("the step that makes the output has run"))
    }

    fn steps(&mut self) -> Result<()> {
        for i in 0..self.steps.len() {
            let step = &self.steps[i];
            if let Some(place) = step.place {
                SPARE.set(self.spares[place].take());
            }
            (step.run)(&mut self.slots, step)?;
            for j in 0..self.steps[i].dead.len() {
                self.free(self.steps[i].dead[j]);
            }
        }
        SPARE.take();
        Ok(())
    }

    /// Nobody reads the slot any more.
    fn free(&mut self, slot: usize) {
        if self.constants[slot] {
            return;
        }
        let value = self.slots[slot].take();
        if let Some(place) = self.homes[slot] {
            self.spares[place] = value;
        }
    }
}
