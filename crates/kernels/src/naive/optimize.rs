//! Twins of the optimizers: PyTorch's formulas for one weight, in double precision.

use crate::optimize::{Adagrad, Adam, RmsProp, Sgd};

/// Twin of [`crate::optimize::sgd`].
pub fn sgd(rule: &Sgd, w: &mut f64, g: f64, buffer: &mut f64, first: bool) {
    let mut g = if rule.maximize { -g } else { g };
    g += rule.weight_decay * *w;
    if rule.momentum != 0.0 {
        *buffer = if first { g } else { rule.momentum * *buffer + (1.0 - rule.dampening) * g };
        g = if rule.nesterov { g + rule.momentum * *buffer } else { *buffer };
    }
    *w -= rule.lr * g;
}

/// Twin of [`crate::optimize::adam`].
pub fn adam(rule: &Adam, step: u64, w: &mut f64, g: f64, m: &mut f64, v: &mut f64, largest: Option<&mut f64>) {
    let mut g = if rule.maximize { -g } else { g };
    if rule.decoupled {
        *w *= 1.0 - rule.lr * rule.weight_decay;
    } else {
        g += rule.weight_decay * *w;
    }
    *m = rule.beta1 * *m + (1.0 - rule.beta1) * g;
    *v = rule.beta2 * *v + (1.0 - rule.beta2) * g * g;
    let square = match largest {
        Some(top) => {
            *top = top.max(*v);
            *top
        }
        None => *v,
    };
    let m_hat = *m / (1.0 - rule.beta1.powi(step as i32));
    let v_hat = square / (1.0 - rule.beta2.powi(step as i32));
    *w -= rule.lr * m_hat / (v_hat.sqrt() + rule.eps);
}

/// Twin of [`crate::optimize::rmsprop`].
pub fn rmsprop(rule: &RmsProp, w: &mut f64, g: f64, s: &mut f64, mean: Option<&mut f64>, buffer: &mut f64) {
    let mut g = if rule.maximize { -g } else { g };
    g += rule.weight_decay * *w;
    *s = rule.alpha * *s + (1.0 - rule.alpha) * g * g;
    let mut variance = *s;
    if let Some(mean) = mean {
        *mean = rule.alpha * *mean + (1.0 - rule.alpha) * g;
        variance -= *mean * *mean;
    }
    *buffer = rule.momentum * *buffer + g / (variance.sqrt() + rule.eps);
    *w -= rule.lr * *buffer;
}

/// Twin of [`crate::optimize::adagrad`].
pub fn adagrad(rule: &Adagrad, step: u64, w: &mut f64, g: f64, s: &mut f64) {
    let mut g = if rule.maximize { -g } else { g };
    g += rule.weight_decay * *w;
    *s += g * g;
    *w -= rule.lr / (1.0 + (step - 1) as f64 * rule.lr_decay) * g / (s.sqrt() + rule.eps);
}
