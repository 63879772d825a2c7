//! Operations of the graph. Those whose inputs are all known are evaluated.

use std::borrow::Cow;
use std::cell::Cell;
use std::path::Path;

use mnx_tensor::memory;

use super::constant::{
    Constant, LARGEST_SMALL, MOST_DIMENSIONS, Misfit, Scalar, Unread, elements, ints, is_float, misfit,
};
use super::message::{Attribute, Graph, Node, data_type};
use crate::text::{SENTENCE, shown};
use crate::{Error, OnnxError};

/// An operation at its place in the file.
#[derive(Clone, Copy)]
pub(crate) struct Operation<'a> {
    pub(crate) index: usize,
    pub(crate) node: &'a Node,
}

impl<'a> Operation<'a> {
    pub(crate) fn at(graph: &'a Graph, index: usize) -> Operation<'a> {
        Operation { index, node: &graph.node[index] }
    }

    /// What it is, e.g. `Conv`.
    pub(crate) fn kind(self) -> &'a str {
        &self.node.op_type
    }

    fn attribute(self, name: &str) -> Option<&'a Attribute> {
        self.node.attribute.iter().find(|attribute| attribute.name == name)
    }

    pub(crate) fn int(self, name: &str, default: i64) -> i64 {
        self.attribute(name).map_or(default, |attribute| attribute.i)
    }

    pub(crate) fn float(self, name: &str, default: f32) -> f64 {
        self.attribute(name).map_or(default, |attribute| attribute.f).into()
    }

    /// As [`float`](Operation::float), with no more decimals than tell it apart: 1e-5 and not the nearest f32.
    pub(crate) fn decimal(self, name: &str, default: f32) -> f64 {
        let value = self.attribute(name).map_or(default, |attribute| attribute.f);
        value.to_string().parse().unwrap_or(value.into())
    }

    pub(crate) fn ints(self, name: &str) -> Option<&'a [i64]> {
        self.attribute(name).map(|attribute| &attribute.ints[..])
    }

    pub(crate) fn text(self, name: &str) -> Option<&'a [u8]> {
        self.attribute(name).map(|attribute| &attribute.s[..])
    }

    /// Name of an input, unless it is an optional one that is not given.
    pub(crate) fn input(self, index: usize) -> Option<&'a str> {
        self.node.input.get(index).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// The inputs that only tell a type or a shape: their values are not used.
    pub(crate) fn looks_only(self, input: usize) -> bool {
        self.kind() == "Shape" || (self.kind() == "CastLike" && input == 1)
    }

    /// A constant that is not there, or for which there is no memory.
    pub(crate) fn unread(self, unread: Unread) -> Error {
        match unread {
            Unread::Misfit(misfit) => self.error(misfit),
            Unread::Memory(error) => error.into(),
        }
    }

    pub(crate) fn error(self, Misfit { expected, found }: Misfit) -> Error {
        let Operation { index, node } = self;
        let texts = [&node.op_type, &node.name, &expected, &found];
        let [operation, name, expected, found] = texts.map(|text| shown(text, SENTENCE));
        Error::Onnx(OnnxError::Operation { index, operation, name, expected, found })
    }
}

/// Evaluates operations on known tensors.
pub(crate) struct Evaluator<'a> {
    pub(crate) folder: Option<&'a Path>,
    /// Elements that may still be made.
    pub(crate) budget: Cell<usize>,
    /// Elements that may still be read to make them.
    pub(crate) reads: Cell<usize>,
}

impl<'a> Evaluator<'a> {
    /// `folder` is where the files are that tensors may lie in.
    pub(crate) fn new(folder: Option<&'a Path>) -> Evaluator<'a> {
        Evaluator { folder, budget: Cell::new(LARGEST_SMALL), reads: Cell::new(16 * LARGEST_SMALL) }
    }

    /// The operation's output, if this operation is one that shapes are computed with.
    pub(crate) fn evaluate(&self, op: Operation, inputs: &[Option<&Constant>]) -> Result<Constant, Misfit> {
        if op.kind() == "Constant"
            && let Some(tensor) = op.attribute("value").and_then(|attribute| attribute.t.as_ref())
        {
            return Constant::stored(tensor, self.folder);
        }
        let value = self.small(op, inputs).filter(|value| value.made() <= self.budget.get());
        let Some(value) = value else {
            return misfit("constants that are stored, or shapes that follow from them", "a computation");
        };
        self.budget.set(self.budget.get() - value.made());
        Ok(value)
    }

    /// A tensor's values, which are taken off those that may be read.
    fn read<'c>(&self, constant: &'c Constant) -> Option<Cow<'c, [Scalar]>> {
        let length = constant.len().filter(|&n| n <= LARGEST_SMALL)?;
        self.reads.set(self.reads.get().checked_sub(length)?);
        constant.scalars()
    }

    /// Those of a tensor of integers.
    fn ints(&self, constant: &Constant) -> Option<Vec<i64>> {
        ints(&self.read(constant)?)
    }

    /// Those of a tensor of one dimension.
    fn vector<'c>(&self, constant: &'c Constant) -> Option<Cow<'c, [Scalar]>> {
        if constant.dims.len() != 1 { None } else { self.read(constant) }
    }

    fn small(&self, op: Operation, inputs: &[Option<&Constant>]) -> Option<Constant> {
        let input = |index: usize| inputs.get(index).copied().flatten();
        // Before opset 13 the axes of some operations are attributes.
        let axes = || match op.ints("axes") {
            Some(axes) => Some(axes.to_vec()),
            None => self.ints(input(1)?),
        };
        Some(match op.kind() {
            "Constant" => literal(op)?,
            "Identity" => input(0)?.reshaped(input(0)?.dims.clone())?,
            "Cast" => self.cast(input(0)?, op.int("to", 0))?,
            "CastLike" => {
                let to = if input(1)?.is_float() { data_type::FLOAT } else { data_type::INT64 };
                self.cast(input(0)?, to.into())?
            }
            "Shape" => {
                let dims = input(0)?.dims.iter().map(|&dim| Some(Scalar::Int(dim.try_into().ok()?)));
                shape(op, &dims.collect::<Option<Vec<_>>>()?)
            }
            "Reshape" => {
                let dims = target(&self.ints(input(1)?)?, &input(0)?.dims)?;
                input(0)?.reshaped(dims)?
            }
            "Squeeze" => {
                let dims = &input(0)?.dims;
                let gone = match axes() {
                    Some(axes) => places(&axes, dims.len())?,
                    None => (0..dims.len()).filter(|&i| dims[i] == 1).collect(),
                };
                let kept = (0..dims.len()).filter(|i| !gone.contains(i)).map(|i| dims[i]).collect();
                input(0)?.reshaped(kept)?
            }
            "Unsqueeze" => unsqueeze(input(0)?, &axes()?)?,
            "Expand" => self.expand(input(0)?, &self.ints(input(1)?)?)?,
            "ConstantOfShape" => {
                let value = match op.attribute("value").and_then(|attribute| attribute.t.as_ref()) {
                    Some(tensor) => *Constant::stored(tensor, self.folder).ok()?.scalars()?.first()?,
                    None => Scalar::Float(0.0),
                };
                self.expand(&Constant::scalar(value), &self.ints(input(0)?)?)?
            }
            "Concat" => self.concat(inputs)?,
            "Gather" => self.gather(input(0)?, input(1)?)?,
            "Slice" => self.slice(op, input)?,
            "Transpose" => self.transpose(input(0)?, op.ints("perm"))?,
            _ => return None,
        })
    }

    fn concat(&self, parts: &[Option<&Constant>]) -> Option<Constant> {
        let lengths = parts.iter().map(|part| part.as_ref()?.len()).collect::<Option<Vec<_>>>()?;
        let length = lengths.into_iter().try_fold(0_usize, usize::checked_add)?;
        let mut all = memory::room(Some(length).filter(|&n| n <= self.budget.get())?).ok()?;
        for part in parts {
            all.extend_from_slice(&self.vector((*part)?)?);
        }
        Some(Constant::vector(all))
    }

    fn gather(&self, from: &Constant, at: &Constant) -> Option<Constant> {
        let (from, indices) = (self.vector(from)?, self.ints(at)?);
        let mut picked = memory::room(indices.len()).ok()?;
        for index in indices {
            picked.push(*from.get(place(index, from.len())?)?);
        }
        Some(Constant::small(at.dims.clone(), picked))
    }

    fn slice<'c>(&self, op: Operation, input: impl Fn(usize) -> Option<&'c Constant>) -> Option<Constant> {
        let one = |ints: &[i64]| if let [one] = ints { Some(*one) } else { None };
        // Before opset 10 all of them are attributes.
        let number = |index: usize, name: &str| match op.ints(name) {
            Some(ints) => one(ints),
            None => one(&self.ints(input(index)?)?),
        };
        let along_first = match op.ints("axes") {
            Some(axes) => axes == [0],
            None => input(3).is_none_or(|axes| self.ints(axes).as_deref() == Some(&[0])),
        };
        let step = input(4).map_or(Some(1), |steps| one(&self.ints(steps)?));
        self.rows(input(0)?, number(1, "starts")?, number(2, "ends")?, step.filter(|_| along_first)?)
    }

    fn expand(&self, from: &Constant, to: &[i64]) -> Option<Constant> {
        let to: Vec<usize> = to.iter().map(|&dim| dim.try_into().ok()).collect::<Option<_>>()?;
        let values = self.read(from)?;
        let count = elements(&to).filter(|&n| n <= self.budget.get())?;
        match *values {
            [value] if to.len() >= from.dims.len() => Some(Constant::small(to, memory::filled(value, count).ok()?)),
            // One dimension of those of length 1 wherever else.
            _ if Some(count) == from.len() => from.reshaped(to),
            _ => None,
        }
    }

    /// Of a matrix.
    fn transpose(&self, from: &Constant, order: Option<&[i64]>) -> Option<Constant> {
        let [rows, columns] = from.dims[..] else { return None };
        match order {
            Some([0, 1]) => return Some(from.clone()),
            None | Some([1, 0]) => (),
            _ => return None,
        }
        from.len().filter(|&n| n <= self.budget.get())?;
        let values = self.read(from)?;
        let turned = (0..columns).flat_map(|column| (0..rows).map(move |row| row * columns + column));
        let turned = memory::collect(turned.map(|i| values[i]), values.len()).ok()?;
        Some(Constant::small(vec![columns, rows], turned))
    }

    /// Other types of floating-point numbers stand for the same values, which need not be read.
    fn cast(&self, from: &Constant, to: i64) -> Option<Constant> {
        let to_int = [data_type::INT64, data_type::INT32].iter().any(|&int| i64::from(int) == to);
        if !(to_int || is_float(to)) {
            return None;
        }
        if !to_int && from.is_float() {
            return Some(from.clone());
        }
        let converted = |scalar| match scalar {
            Scalar::Int(v) if !to_int => Scalar::Float(v as f64),
            Scalar::Float(v) if to_int => Scalar::Int(v as i64),
            other => other,
        };
        let values = self.read(from)?;
        let converted = memory::collect(values.iter().map(|&scalar| converted(scalar)), values.len()).ok()?;
        Some(Constant::small(from.dims.clone(), converted))
    }

    /// A slice along the first dimension: forwards, or backwards as exporters turn PyTorch's pads round.
    fn rows(&self, from: &Constant, start: i64, end: i64, step: i64) -> Option<Constant> {
        let (&count, rest) = from.dims.split_first()?;
        let (values, row) = (self.read(from)?, elements(rest)?);
        let picked = match step {
            1 => {
                let (start, end) = bounds(start, end, count);
                start..end
            }
            -1 => {
                let length = i64::try_from(count).ok()?;
                let at = |i: i64| if i < 0 { i.saturating_add(length).max(-1) } else { i.min(length - 1) };
                let (start, end) = (at(end) + 1, at(start) + 1);
                start as usize..end.max(start) as usize
            }
            _ => return None,
        };
        let at = |i: usize| if step < 0 { picked.end - 1 - i } else { picked.start + i };
        let mut sliced = memory::room(picked.len() * row).ok()?;
        (0..picked.len()).for_each(|i| sliced.extend_from_slice(&values[at(i) * row..][..row]));
        Some(Constant::small([&[picked.len()], rest].concat(), sliced))
    }
}

/// With dimensions of 1 at these axes of the result.
fn unsqueeze(from: &Constant, axes: &[i64]) -> Option<Constant> {
    let mut old = from.dims.iter();
    let rank = old.len().checked_add(axes.len()).filter(|&rank| rank <= MOST_DIMENSIONS)?;
    let new = places(axes, rank)?;
    let dims = (0..rank).map(|i| if new.contains(&i) { Some(1) } else { old.next().copied() });
    from.reshaped(dims.collect::<Option<_>>()?)
}

/// What a `Constant` holds but for a tensor.
fn literal(op: Operation) -> Option<Constant> {
    let attribute = op.node.attribute.first()?;
    Some(match attribute.name.as_str() {
        "value_float" => Constant::scalar(Scalar::Float(attribute.f.into())),
        "value_int" => Constant::scalar(Scalar::Int(attribute.i)),
        "value_floats" => Constant::vector(attribute.floats.iter().map(|&v| Scalar::Float(v.into())).collect()),
        "value_ints" => Constant::vector(attribute.ints.iter().map(|&v| Scalar::Int(v)).collect()),
        _ => return None,
    })
}

/// The part of a shape that a `Shape` asks for.
pub(crate) fn shape(op: Operation, dims: &[Scalar]) -> Constant {
    let (start, end) = bounds(op.int("start", 0), op.int("end", i64::MAX), dims.len());
    Constant::vector(dims[start..end].to_vec())
}

/// What a `Reshape` makes of dimensions: 0 keeps one, -1 stands for the rest.
fn target(to: &[i64], from: &[usize]) -> Option<Vec<usize>> {
    let mut dims = Vec::with_capacity(to.len());
    for (i, &dim) in to.iter().enumerate() {
        dims.push(match dim {
            -1 => 1,
            0 => *from.get(i)?,
            _ => dim.try_into().ok()?,
        });
    }
    if let Some(rest) = to.iter().position(|&dim| dim == -1) {
        dims[rest] = elements(from)?.checked_div(elements(&dims)?)?;
    }
    Some(dims)
}

/// An axis counted from the end where it is negative.
pub(crate) fn place(axis: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    usize::try_from(if axis < 0 { axis.checked_add(rank)? } else { axis }).ok().filter(|&place| (place as i64) < rank)
}

pub(crate) fn places(axes: &[i64], rank: usize) -> Option<Vec<usize>> {
    axes.iter().map(|&axis| place(axis, rank)).collect()
}

/// Start and end of a slice of `length` values, as a `Slice` counts them.
pub(crate) fn bounds(start: i64, end: i64, length: usize) -> (usize, usize) {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let at = |i: i64| (if i < 0 { i.saturating_add(length) } else { i }).clamp(0, length) as usize;
    (at(start).min(at(end)), at(end))
}
