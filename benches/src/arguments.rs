//! The arguments of a PyTorch call as JSON: read by name, with a record of what was read.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use gabor::Pair;
use serde_json::{Map, Value};

/// Why a call described in JSON was not made, or did not succeed.
#[derive(Debug)]
pub enum Refusal {
    /// The library answered with an error.
    Library(gabor::Error),
    /// An argument has a value that its Rust type cannot hold: a negative size, a string that names no variant.
    Type(String),
    /// An operator, layer or argument that the reader does not know.
    Unknown(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Library(error) => write!(f, "{error}"),
            Refusal::Type(text) => write!(f, "refused by the type: {text}"),
            Refusal::Unknown(text) => write!(f, "not understood: {text}"),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<gabor::Error> for Refusal {
    fn from(error: gabor::Error) -> Self {
        Refusal::Library(error)
    }
}

/// Named arguments. Each read marks its name; [`finish`](Arguments::finish) complains of those that nobody read.
///
/// `null` reads as an argument that is not there.
///
/// ```
/// use benches::Arguments;
/// let call = serde_json::json!({"kernel_size": [2, 3], "groups": -1});
/// let arguments = Arguments::new(call.as_object().unwrap());
/// assert_eq!(arguments.pair("kernel_size").unwrap(), Some((2, 3).into()));
/// assert!(arguments.finish().unwrap_err().to_string().contains("groups"));
/// assert!(arguments.integer::<usize>("groups").is_err());
/// ```
#[derive(Debug)]
pub struct Arguments<'a> {
    map: &'a Map<String, Value>,
    read: RefCell<BTreeSet<String>>,
}

impl<'a> Arguments<'a> {
    /// The arguments of `map`, none of them read yet.
    pub fn new(map: &'a Map<String, Value>) -> Self {
        Arguments { map, read: RefCell::default() }
    }

    /// The argument as it stands.
    pub fn value(&self, name: &str) -> Option<&'a Value> {
        self.read.borrow_mut().insert(name.to_owned());
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// An integer that fits `T`.
    ///
    /// # Errors
    /// It is no integer, or does not fit.
    pub fn integer<T: TryFrom<i64>>(&self, name: &str) -> Result<Option<T>, Refusal> {
        self.value(name).map(|value| integer(name, value)).transpose()
    }

    /// One integer or a list of them.
    ///
    /// # Errors
    /// Something else, or a number that does not fit `T`.
    pub fn integers<T: TryFrom<i64>>(&self, name: &str) -> Result<Option<Vec<T>>, Refusal> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        list.iter().map(|value| integer(name, value)).collect::<Result<_, _>>().map(Some)
    }

    /// A pair of sizes: one integer, a list of one or two. An empty list reads as an argument that is not there.
    ///
    /// # Errors
    /// Another length, or a number that is no size.
    pub fn pair(&self, name: &str) -> Result<Option<Pair>, Refusal> {
        match self.integers::<usize>(name)?.as_deref() {
            None | Some([]) => Ok(None),
            Some(&[size]) => Ok(Some(size.into())),
            Some(&[h, w]) => Ok(Some((h, w).into())),
            Some(list) => Err(Refusal::Type(format!("{name} is {list:?}; expected one or two sizes"))),
        }
    }

    /// A number; `{"float": "inf"}` stands for what JSON has no word for.
    ///
    /// # Errors
    /// It is no number.
    pub fn number(&self, name: &str) -> Result<Option<f64>, Refusal> {
        self.value(name).map(|value| number(name, value)).transpose()
    }

    /// One number or a list of them.
    ///
    /// # Errors
    /// Something else.
    pub fn numbers(&self, name: &str) -> Result<Option<Vec<f64>>, Refusal> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        list.iter().map(|value| number(name, value)).collect::<Result<_, _>>().map(Some)
    }

    /// A truth value.
    ///
    /// # Errors
    /// It is something else.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, Refusal> {
        self.value(name)
            .map(|value| {
                value.as_bool().ok_or_else(|| Refusal::Type(format!("{name} is {value}; expected true or false")))
            })
            .transpose()
    }

    /// A string.
    ///
    /// # Errors
    /// It is something else.
    pub fn text(&self, name: &str) -> Result<Option<&'a str>, Refusal> {
        self.value(name)
            .map(|value| value.as_str().ok_or_else(|| Refusal::Type(format!("{name} is {value}; expected a string"))))
            .transpose()
    }

    /// Complains of arguments that nobody has read.
    ///
    /// # Errors
    /// There are some; all of them are named.
    pub fn finish(&self) -> Result<(), Refusal> {
        let read = self.read.borrow();
        let unread: Vec<&str> = self.map.keys().map(String::as_str).filter(|&name| !read.contains(name)).collect();
        if unread.is_empty() { Ok(()) } else { Err(Refusal::Unknown(format!("arguments {}", unread.join(", ")))) }
    }
}

/// The value as an integer of type `T`; a float with an integral value is none.
fn integer<T: TryFrom<i64>>(name: &str, value: &Value) -> Result<T, Refusal> {
    let number = value.as_i64().ok_or_else(|| Refusal::Type(format!("{name} is {value}; expected an integer")))?;
    T::try_from(number)
        .map_err(|_| Refusal::Type(format!("{name} is {number}, which {} cannot hold", std::any::type_name::<T>())))
}

fn number(name: &str, value: &Value) -> Result<f64, Refusal> {
    let special = value.get("float").and_then(Value::as_str).and_then(|text| text.parse().ok());
    value.as_f64().or(special).ok_or_else(|| Refusal::Type(format!("{name} is {value}; expected a number")))
}
