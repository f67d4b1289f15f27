//! A table of the layers of a model, with the shapes of their results.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tensor::{Result, Shape};

use crate::module::{Forward, Module};

/// One module in a [`Summary`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SummaryRow {
    /// Its path, as in the keys of a state dict; empty for the model itself.
    pub path: String,
    /// Its type.
    pub type_name: &'static str,
    /// The shape of its last result, if it was called and takes hooks.
    pub output: Option<Shape>,
    /// How many numbers its own parameters have, without those of modules inside of it and of shared ones before.
    pub parameters: usize,
}

/// What [`summary`] finds; printed, it is a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The model and all modules inside of it, each before its own.
    pub rows: Vec<SummaryRow>,
    /// How many numbers all parameters have.
    pub parameters: usize,
    /// How many of them are learned: those that are not frozen.
    pub trainable: usize,
}

/// Runs the model once on zeros of this shape, in evaluation and without gradients, and lists its modules.
///
/// Modules that take no hooks (see [`register_forward_hook`](Module::register_forward_hook)) are listed without a shape.
///
/// ```
/// use gabor_nn::{AvgPool2d, Conv2d, Flatten, Linear, Sigmoid, seq, summary};
/// let net = seq![Conv2d::new(1, 6, 5).padding(2), Sigmoid, AvgPool2d::new(2), Flatten, Linear::new(1176, 10)]?;
/// let table = "\
/// layer  type        output          parameters
///        Sequential  [1, 10]                  -
/// 0      Conv2d      [1, 6, 28, 28]         156
/// 1      Sigmoid     [1, 6, 28, 28]           -
/// 2      AvgPool2d   [1, 6, 14, 14]           -
/// 3      Flatten     [1, 1176]                -
/// 4      Linear      [1, 10]             11,770
/// 11,926 parameters, 11,926 of them learned";
/// assert_eq!(summary(&net, &[1, 1, 28, 28])?.to_string(), table);
/// # Ok::<(), tensor::Error>(())
/// ```
///
/// # Errors
/// As the model, for such an input.
pub fn summary<M: Forward>(module: &M, shape: &[usize]) -> Result<Summary> {
    let outputs: Arc<Mutex<HashMap<String, Shape>>> = Arc::default();
    let mut handles = Vec::new();
    for (path, _) in module.named_modules() {
        let (outputs, name) = (outputs.clone(), path.clone());
        let hook = module.register_forward_hook(&path, move |_, y| {
            outputs.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), y.shape().clone());
            Ok(None)
        });
        // Those that take no hooks stay without a shape.
        handles.extend(hook);
    }
    let result = module.materialize(shape);
    handles.iter().for_each(|handle| handle.remove());
    let result = result?;
    let mut outputs = std::mem::take(&mut *outputs.lock().unwrap_or_else(PoisonError::into_inner));
    outputs.insert(String::new(), result);

    let mut own: HashMap<String, usize> = HashMap::new();
    let (mut parameters, mut trainable) = (0, 0);
    for (name, parameter) in module.named_parameters() {
        let count = parameter.shape().numel();
        let owner = name.rsplit_once('.').map_or("", |(owner, _)| owner);
        *own.entry(owner.to_owned()).or_default() += count;
        parameters += count;
        trainable += if parameter.requires_grad() { count } else { 0 };
    }
    let row = |(path, module): (String, &dyn Module)| SummaryRow {
        type_name: module.type_name(),
        output: outputs.get(&path).cloned(),
        parameters: own.get(&path).copied().unwrap_or(0),
        path,
    };
    Ok(Summary { rows: module.named_modules().into_iter().map(row).collect(), parameters, trainable })
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["layer", "type", "output", "parameters"].map(String::from);
        let cells = self.rows.iter().map(|row| {
            let output = row.output.as_ref().map_or("-".to_owned(), |shape| format!("{shape:?}"));
            let parameters = if row.parameters == 0 { "-".to_owned() } else { grouped(row.parameters) };
            [row.path.clone(), row.type_name.to_owned(), output, parameters]
        });
        let table: Vec<[String; 4]> = std::iter::once(head).chain(cells).collect();
        let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let [a, b, c, d] = [width(0), width(1), width(2), width(3)];
        for [path, kind, output, parameters] in &table {
            writeln!(f, "{path:a$}  {kind:b$}  {output:c$}  {parameters:>d$}")?;
        }
        write!(f, "{} parameters, {} of them learned", grouped(self.parameters), grouped(self.trainable))
    }
}

/// `61706` as `61,706`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
