//! Warnings: code that runs, and is probably not what was meant. Each kind is told once in a process.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// What a warning is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Lint {
    /// `cross_entropy` was given probabilities, which it makes itself of logits.
    SoftmaxTwice,
    /// `nll_loss` was given probabilities instead of their logarithms.
    NoLogarithm,
    /// An optimizer uses gradients that it has used before: `zero_grad` was forgotten.
    GradientsNotZeroed,
    /// An optimizer steps although no parameter has a gradient: `backward` was forgotten.
    NothingToStep,
    /// A momentum above 1, with which steps grow without end.
    MomentumAboveOne,
    /// The gradient of a result was asked for; only leaves store one.
    GradOfResult,
    /// A loss compares tensors of different shapes, each element of one with many of the other.
    TargetBroadcast,
    /// A loss over no target at all: its mean is NaN.
    NothingCounted,
}

type Handler = Arc<dyn Fn(Lint, &str) + Send + Sync>;

static HANDLER: RwLock<Option<Handler>> = RwLock::new(None);
/// One bit for each lint that was told.
static TOLD: AtomicU32 = AtomicU32::new(0);

/// Hands warnings to `handler` from now on, instead of writing them to stderr; `|_, _| {}` switches them off.
///
/// ```
/// use gabor_tensor::{Lint, set_warning_handler, warn_once};
/// use std::sync::Mutex;
/// static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// set_warning_handler(|_, text| SEEN.lock().unwrap().push(text.to_owned()));
/// for epoch in 1..=2 {
///     warn_once(Lint::MomentumAboveOne, || format!("epoch {epoch}: steps grow; use 0.9"));
/// }
/// assert_eq!(*SEEN.lock().unwrap(), ["epoch 1: steps grow; use 0.9"]);
/// ```
pub fn set_warning_handler(handler: impl Fn(Lint, &str) + Send + Sync + 'static) {
    *HANDLER.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(handler));
}

/// Tells what `text` gives, unless this lint was told before. Texts have the form of errors.
pub fn warn_once(lint: Lint, text: impl FnOnce() -> String) {
    if !is_untold(lint) || TOLD.fetch_or(bit(lint), Ordering::Relaxed) & bit(lint) != 0 {
        return;
    }
    // Not called under the lock: a handler may set another one.
    let handler = HANDLER.read().unwrap_or_else(PoisonError::into_inner).clone();
    match handler {
        Some(handler) => handler(lint, &text()),
        None => eprintln!("warning: {}", text()),
    }
}

/// Whether a warning would be told: for looking closer only then.
#[inline]
pub fn is_untold(lint: Lint) -> bool {
    TOLD.load(Ordering::Relaxed) & bit(lint) == 0
}

fn bit(lint: Lint) -> u32 {
    1 << lint as u32
}
