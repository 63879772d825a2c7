//! NumPy arrays as the library's tensors, without copies.
//!
//! NumPy's own borrows (those of the crate `numpy`) are held while a thread is detached: another call that would write to
//! memory which this one reads is refused. Python code that writes to it meanwhile gets undefined numbers, as with NumPy itself.

use std::ops::Range;

use mnx::TensorView;
use numpy::{
    BorrowError, Element, PyArrayDescrMethods, PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyReadwriteArrayDyn,
    PyUntypedArray, PyUntypedArrayMethods, dtype,
};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};

use crate::errors::Failure;

/// A batch of pictures as the network takes them: float32, C-contiguous, `[N, 3, H, W]`.
pub(crate) struct Input<'py> {
    array: PyReadonlyArrayDyn<'py, f32>,
    shape: [usize; 4],
}

impl<'py> Input<'py> {
    /// # Errors
    /// For everything else, and for an array that is being written to.
    pub(crate) fn new(argument: &Bound<'py, PyAny>) -> Result<Input<'py>, Failure> {
        let array = typed::<f32>(argument, "array", "a float32 array of shape (N, 3, H, W)")?;
        let &[n, channels, height, width] = array.shape() else {
            let found = shown(array.shape());
            return Err(Failure::input(format!("array: expected a shape (N, 3, H, W), found {found}")));
        };
        check_contiguous(array, "array", "numpy.ascontiguousarray makes one")?;
        let array = array.try_readonly().map_err(|_| {
            Failure::input("array: expected memory that nobody writes to, found the `out` of another call")
        })?;
        Ok(Input { array, shape: [n, channels, height, width] })
    }

    pub(crate) fn view(&self) -> Result<TensorView<'_>, Failure> {
        let values = self.array.as_slice().map_err(|_| Failure::input("array: expected aligned numbers"))?;
        Ok(TensorView::new(self.shape, values)?)
    }

    pub(crate) fn pictures(&self) -> usize {
        self.shape[0]
    }

    fn memory(&self) -> Range<usize> {
        memory(self.array.as_slice().unwrap_or_default())
    }
}

/// Memory of the caller's that results are written to.
pub(crate) struct Output<'py> {
    name: String,
    array: PyReadwriteArrayDyn<'py, f32>,
}

impl<'py> Output<'py> {
    /// `name` is for messages.
    ///
    /// # Errors
    /// For what is no float32, C-contiguous, writeable array apart from the input.
    pub(crate) fn new(argument: &Bound<'py, PyAny>, name: &str, input: &Input<'py>) -> Result<Output<'py>, Failure> {
        let array = typed::<f32>(argument, name, "a float32 array")?;
        check_contiguous(array, name, "results are written in that order")?;
        let array = array.try_readwrite().map_err(|error| {
            Failure::input(match error {
                BorrowError::NotWriteable => format!("{name}: expected a writeable array, found a read-only one"),
                _ => format!("{name}: expected memory of its own, found it in use: by the input, or by another call"),
            })
        })?;
        let output = Output { name: name.into(), array };
        output.check_apart(&input.memory(), "the input")?;
        Ok(output)
    }

    /// Views of different buffers can be of the same memory, which NumPy does not know to be the same.
    fn check_apart(&self, other: &Range<usize>, whose: &str) -> Result<(), Failure> {
        let (own, name) = (self.memory(), &self.name);
        if own.start < other.end && other.start < own.end {
            return Err(Failure::input(format!("{name}: expected memory of its own, found that of {whose}")));
        }
        Ok(())
    }

    /// # Errors
    /// For another shape.
    pub(crate) fn check_shape(&self, expected: &[usize]) -> Result<(), Failure> {
        match self.array.shape() {
            shape if shape == expected => Ok(()),
            shape => Err(wrong_shape(&self.name, expected, shape)),
        }
    }

    pub(crate) fn shape(&self) -> &[usize] {
        self.array.shape()
    }

    pub(crate) fn values(&mut self) -> Result<&mut [f32], Failure> {
        let name = &self.name;
        self.array.as_slice_mut().map_err(|_| Failure::input(format!("{name}: expected aligned numbers")))
    }

    fn memory(&self) -> Range<usize> {
        memory(self.array.as_slice().unwrap_or_default())
    }
}

/// Arrays to write a detector's outputs to, by their names.
///
/// # Errors
/// For anything but a dictionary of float32 arrays that do not overlap, and for names that are no output's.
pub(crate) fn outputs<'py>(argument: &Bound<'py, PyAny>, input: &Input<'py>) -> PyResult<Vec<(String, Output<'py>)>> {
    let Ok(dict) = argument.cast::<PyDict>() else {
        let found = argument.get_type().name()?;
        let message = format!("out: expected a dict of arrays, as run returns it for a detector, found {found}");
        return Err(Failure::of_type(message).into());
    };
    let mut outputs: Vec<(String, Output<'py>)> = Vec::new();
    for (key, value) in dict {
        let Ok(name) = key.extract::<String>() else {
            return Err(Failure::of_type(format!("out: expected names of outputs, found {}", type_name(&key))).into());
        };
        let output = Output::new(&value, &format!("out[{name:?}]"), input)?;
        for (_, earlier) in &outputs {
            output.check_apart(&earlier.memory(), &earlier.name)?;
        }
        outputs.push((name, output));
    }
    Ok(outputs)
}

pub(crate) fn wrong_shape(name: &str, expected: &[usize], found: &[usize]) -> Failure {
    Failure::input(format!("{name}: expected shape {}, found {}", shown(expected), shown(found)))
}

/// An array of float32 zeros of this shape. NumPy itself makes it: where there is no memory for it, that is an error.
///
/// # Errors
/// What NumPy raises.
pub(crate) fn zeros<'py>(py: Python<'py>, shape: &[usize]) -> Result<Bound<'py, PyArrayDyn<f32>>, Failure> {
    static ZEROS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let made = ZEROS.import(py, "numpy", "zeros").and_then(|zeros| {
        let shape = PyTuple::new(py, shape)?;
        Ok(zeros.call1((shape, dtype::<f32>(py)))?.cast_into::<PyArrayDyn<f32>>()?)
    });
    made.map_err(Failure::Raised)
}

/// As Python writes a shape.
pub(crate) fn shown(shape: &[usize]) -> String {
    match shape {
        [only] => format!("({only},)"),
        _ => format!("({})", shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// An array of this type of elements.
fn typed<'a, 'py, T: Element>(
    argument: &'a Bound<'py, PyAny>,
    name: &str,
    expected: &str,
) -> Result<&'a Bound<'py, PyArrayDyn<T>>, Failure> {
    let Ok(array) = argument.cast::<PyUntypedArray>() else {
        return Err(Failure::of_type(format!("{name}: expected {expected}, found {}", type_name(argument))));
    };
    if !array.dtype().is_equiv_to(&dtype::<T>(argument.py())) {
        let found = array.dtype();
        return Err(Failure::of_type(format!("{name}: expected {expected}, found one of {found}")));
    }
    argument.cast::<PyArrayDyn<T>>().map_err(|_| Failure::of_type(format!("{name}: expected {expected}")))
}

fn check_contiguous<T: Element>(array: &Bound<'_, PyArrayDyn<T>>, name: &str, hint: &str) -> Result<(), Failure> {
    if array.is_c_contiguous() {
        return Ok(());
    }
    Err(Failure::input(format!("{name}: expected a C-contiguous array, found one with strides ({hint})")))
}

/// Name of an object's type.
pub(crate) fn type_name(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map_or_else(|_| "another type".into(), |name| name.to_string())
}

fn memory(values: &[f32]) -> Range<usize> {
    let range = values.as_ptr_range();
    range.start as usize..range.end as usize
}
