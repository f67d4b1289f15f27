//! Optimizer steps against their twins over several steps, in both precisions, on every instruction set.

use gabor_kernels::element::Float;
use gabor_kernels::optimize::{self, Adagrad, Adam, RmsProp, Sgd};
use gabor_kernels::{isa, naive, par};

const LENGTHS: [usize; 7] = [0, 1, 7, 16, 33, 100, 20_000];
const STEPS: u64 = 5;

fn start(n: usize) -> Vec<f64> {
    (0..n).map(|i| (i * 7919 % 211) as f64 / 64.0 - 1.6).collect()
}

fn gradient(n: usize, step: u64) -> Vec<f64> {
    (0..n).map(|i| ((i as u64 * 31 + step * 57) % 101) as f64 / 64.0 - 0.7).collect()
}

fn to<T: Float>(x: &[f64]) -> Vec<T> {
    x.iter().map(|&v| T::real(v)).collect()
}

/// Both must agree to `tolerance` relative to 1.
fn assert_close<T: Float>(w: &[T], truth: &[f64], tolerance: f64) {
    for (w, t) in w.iter().zip(truth) {
        assert!((w.f() - t).abs() <= tolerance * t.abs().max(1.0), "{} is not {t}", w.f());
    }
}

fn on_each_set(f: impl Fn()) {
    for &set in isa::available() {
        isa::with(set, &f);
    }
}

fn check_sgd<T: Float>(tolerance: f64) {
    for n in LENGTHS {
        for (momentum, dampening, nesterov) in
            [(0.0, 0.0, false), (0.9, 0.0, false), (0.9, 0.3, false), (0.8, 0.0, true)]
        {
            for (weight_decay, maximize) in [(0.0, false), (0.01, true)] {
                let rule = Sgd { lr: 0.1, momentum, dampening, weight_decay, nesterov, maximize };
                let mut truth = start(n);
                let mut w = to::<T>(&truth);
                let (mut b, mut buffer) = (vec![T::real(99.0); n], vec![99.0; n]);
                for step in 1..=STEPS {
                    let g = gradient(n, step);
                    optimize::sgd(&rule, &mut w, &to::<T>(&g), (momentum != 0.0).then_some(&mut b[..]), step == 1);
                    for i in 0..n {
                        naive::optimize::sgd(&rule, &mut truth[i], g[i], &mut buffer[i], step == 1);
                    }
                }
                assert_close(&w, &truth, tolerance);
            }
        }
    }
}

fn check_adam<T: Float>(tolerance: f64) {
    for n in LENGTHS {
        for (decoupled, weight_decay) in [(false, 0.0), (false, 0.01), (true, 0.01)] {
            for (amsgrad, maximize, beta1) in [(false, false, 0.9), (true, true, 0.3)] {
                let rule = Adam { lr: 0.01, beta1, beta2: 0.99, eps: 1e-8, weight_decay, decoupled, maximize };
                let mut truth = start(n);
                let mut w = to::<T>(&truth);
                let mut state = [vec![T::ZERO; n], vec![T::ZERO; n], vec![T::ZERO; n]];
                let mut expected = [vec![0.0; n], vec![0.0; n], vec![0.0; n]];
                for step in 1..=STEPS {
                    let g = gradient(n, step);
                    let [m, v, top] = &mut state;
                    optimize::adam(&rule, step, &mut w, &to::<T>(&g), m, v, amsgrad.then_some(&mut top[..]));
                    let [m, v, top] = &mut expected;
                    for i in 0..n {
                        let top = amsgrad.then_some(&mut top[i]);
                        naive::optimize::adam(&rule, step, &mut truth[i], g[i], &mut m[i], &mut v[i], top);
                    }
                }
                assert_close(&w, &truth, tolerance);
            }
        }
    }
}

fn check_others<T: Float>(tolerance: f64) {
    for n in LENGTHS {
        for (centred, momentum) in [(false, 0.0), (true, 0.0), (false, 0.9), (true, 0.5)] {
            let rule = RmsProp { lr: 0.01, alpha: 0.95, eps: 1e-4, weight_decay: 0.01, momentum, maximize: false };
            let mut truth = start(n);
            let mut w = to::<T>(&truth);
            let mut state = [vec![T::ZERO; n], vec![T::ZERO; n], vec![T::ZERO; n]];
            let mut expected = [vec![0.0; n], vec![0.0; n], vec![0.0; n]];
            for step in 1..=STEPS {
                let g = gradient(n, step);
                let [s, mean, buffer] = &mut state;
                let (mean, buffer) = (centred.then_some(&mut mean[..]), (momentum != 0.0).then_some(&mut buffer[..]));
                optimize::rmsprop(&rule, &mut w, &to::<T>(&g), s, mean, buffer);
                let [s, mean, buffer] = &mut expected;
                for i in 0..n {
                    let mean = centred.then_some(&mut mean[i]);
                    naive::optimize::rmsprop(&rule, &mut truth[i], g[i], &mut s[i], mean, &mut buffer[i]);
                }
            }
            assert_close(&w, &truth, tolerance);
        }
        let rule = Adagrad { lr: 0.1, lr_decay: 0.1, weight_decay: 0.01, eps: 1e-10, maximize: true };
        let mut truth = start(n);
        let mut w = to::<T>(&truth);
        let (mut s, mut sums) = (vec![T::real(0.1); n], vec![0.1; n]);
        for step in 1..=STEPS {
            let g = gradient(n, step);
            optimize::adagrad(&rule, step, &mut w, &to::<T>(&g), &mut s);
            for i in 0..n {
                naive::optimize::adagrad(&rule, step, &mut truth[i], g[i], &mut sums[i]);
            }
        }
        assert_close(&w, &truth, tolerance);
    }
}

#[test]
fn sgd_equals_its_twin() {
    on_each_set(|| {
        check_sgd::<f32>(2e-6);
        check_sgd::<f64>(1e-14);
    });
}

#[test]
fn adam_equals_its_twin() {
    on_each_set(|| {
        check_adam::<f32>(1e-5);
        check_adam::<f64>(1e-12);
    });
}

#[test]
fn rmsprop_and_adagrad_equal_their_twins() {
    on_each_set(|| {
        check_others::<f32>(2e-5);
        check_others::<f64>(1e-12);
    });
}

#[test]
fn moments_do_not_become_subnormal() {
    let rule = Sgd { lr: 0.1, momentum: 0.5, dampening: 0.0, weight_decay: 0.0, nesterov: false, maximize: false };
    let (mut w, mut b) = ([1.0f32; 20], [1.5e-38f32; 20]);
    optimize::sgd(&rule, &mut w, &[0.0; 20], Some(&mut b), false);
    assert_eq!(b, [0.0; 20]);
    assert_eq!(w, [1.0; 20]);
}

#[test]
fn threads_do_not_change_bits() {
    let n = 300_001;
    let results = [1, 2, 3].map(|threads| {
        par::set_num_threads(threads);
        let rule =
            Adam { lr: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1, decoupled: true, maximize: false };
        let (mut w, mut m, mut v) = (to::<f32>(&start(n)), vec![0.0f32; n], vec![0.0f32; n]);
        optimize::adam(&rule, 1, &mut w, &to::<f32>(&gradient(n, 1)), &mut m, &mut v, None);
        (w, m, v)
    });
    assert!(results[0] == results[1] && results[0] == results[2]);
}
