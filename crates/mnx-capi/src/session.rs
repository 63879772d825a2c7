//! Raw tensors in, raw tensors out.

use std::ffi::{CString, c_char};
use std::sync::Mutex;

use mnx::{Isa, Session, Stopper, TensorView};

use crate::arguments::{Room, answer, create, enter, handle, release, shape, text, values};
use crate::model::{Labels, features, isa_name, mnx_model};
use crate::options::{mnx_options, options_or_default};
use crate::status::{Failure, guard, mnx_status};
use crate::stopper::mnx_stopper;

/// One stream of inferences: tensors in, tensors out. It has its own memory, which is laid out when an input's shape first
/// comes, and kept. Threads need one each: a call while another thread is in one with the same session is `MNX_BUSY`.
pub struct mnx_session {
    inner: Mutex<Running>,
    /// What other threads may ask for while one is in a run.
    stopper: Stopper,
    threads: usize,
    isa: Isa,
    _labels: Labels,
}

struct Running {
    session: Session,
    /// Names that were asked for. They stay where they are.
    names: Vec<CString>,
}

/// Where one output goes. This structure never changes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct mnx_output {
    /// The output's name.
    pub name: *const c_char,
    /// Room for its values.
    pub data: *mut f32,
    /// How many values there is room for: exactly as many as the output has.
    pub len: usize,
}

/// Makes a session. `options` may be NULL for the defaults.
///
/// # Safety
/// `model` and `options` are NULL or handles that are not released meanwhile; `session` is NULL or may be written. What it
/// becomes belongs to the caller, who releases it with `mnx_session_free`. After a failure it is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_session_new(
    model: *const mnx_model,
    options: *const mnx_options,
    session: *mut *mut mnx_session,
) -> mnx_status {
    let make = || {
        // SAFETY: the caller's promise.
        let (model, options) = unsafe { (handle(model, "model")?, options_or_default(options)?) };
        let session = Session::with(&model.model, options)?;
        let (stopper, threads, isa) = (session.stopper(), session.threads(), session.isa());
        let inner = Mutex::new(Running { session, names: Vec::new() });
        Ok(mnx_session { inner, stopper, threads, isa, _labels: model.labels.clone() })
    };
    // SAFETY: the caller's promise.
    unsafe { create(session, make) }
}

/// Releases a session. NULL is fine.
///
/// # Safety
/// `session` is NULL or a handle that nobody uses any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_session_free(session: *mut mnx_session) {
    // SAFETY: the caller's promise.
    unsafe { release(session) }
}

/// How many threads work on an inference, the calling one included. Never `MNX_BUSY`.
///
/// # Safety
/// `session` is NULL or a handle that is not released meanwhile; `threads` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_session_threads(session: *const mnx_session, threads: *mut usize) -> mnx_status {
    // SAFETY: the caller's promise.
    unsafe { answer(threads, || Ok(handle(session, "session")?.threads)) }
}

/// The instruction set whose kernels run, e.g. `avx2`. The string lives as long as the process. Never `MNX_BUSY`.
///
/// # Safety
/// `session` is NULL or a handle that is not released meanwhile; `isa` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_session_isa(session: *const mnx_session, isa: *mut *const c_char) -> mnx_status {
    let name = || {
        // SAFETY: the caller's promise.
        let session = unsafe { handle(session, "session") }?;
        Ok(isa_name(session.isa).as_ptr())
    };
    // SAFETY: the caller's promise.
    unsafe { answer(isa, name) }
}

/// How many outputs the network has for an input of this shape (four sizes: pictures, channels, rows, columns): one for
/// classifiers, two for detectors. Lays out memory for that shape, which the first run would do otherwise.
///
/// # Safety
/// `session` is NULL or a handle that is not released meanwhile; `input_shape` is NULL or points to four sizes; `count` is
/// NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_session_outputs(
    session: *mut mnx_session,
    input_shape: *const usize,
    count: *mut usize,
) -> mnx_status {
    let outputs = || {
        // SAFETY: the caller's promise.
        let (session, input_shape) = unsafe { (handle(session, "session")?, shape(input_shape)?) };
        Ok(enter(&session.inner, "session")?.session.output_shapes(input_shape)?.len())
    };
    // SAFETY: the caller's promise.
    unsafe { answer(count, outputs) }
}

/// Name and shape of output number `index` for an input of this shape. `name` may be NULL; else it becomes a string that
/// lives as long as the session. `output_shape` has room for four sizes.
///
/// A classifier has `logits`, pictures x classes x 1 x 1. A detector has `scores`, pictures x priors x classes x 1, and
/// `boxes`, pictures x priors x 4 x 1, both raw: `mnx_detector_detect` makes boxes of them.
///
/// # Safety
/// `session` is NULL or a handle that is not released meanwhile; `input_shape` is NULL or points to four sizes; `name` is
/// NULL or may be written; `output_shape` is NULL or four sizes may be written to it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_session_output(
    session: *mut mnx_session,
    input_shape: *const usize,
    index: usize,
    name: *mut *const c_char,
    output_shape: *mut usize,
) -> mnx_status {
    guard(|| {
        // SAFETY: the caller's promise.
        let (session, input_shape) = unsafe { (handle(session, "session")?, shape(input_shape)?) };
        // SAFETY: the caller's promise.
        let mut room = unsafe { Room::new(output_shape, 4, "output_shape") }?;
        let running = &mut *enter(&session.inner, "session")?;
        let mut outputs = running.session.output_shapes(input_shape)?;
        let (count, output) = (outputs.len(), outputs.nth(index));
        drop(outputs);
        let Some((found, output_shape)) = output else {
            return Err(Failure::argument("index", format_args!("an output below {count}"), index));
        };
        room.fill(&output_shape)?;
        if !name.is_null() {
            let found = running.name(found);
            // SAFETY: not NULL; the caller's promise.
            unsafe { Room::one(name, "name") }?.write([found]);
        }
        Ok(())
    })
}

impl Running {
    /// The shape of the output with this name.
    fn shape_of(&mut self, name: &str, input_shape: [usize; 4]) -> Result<[usize; 4], Failure> {
        let mut names = Vec::new();
        for (known, shape) in self.session.output_shapes(input_shape)? {
            if known == name {
                return Ok(shape);
            }
            names.push(known);
        }
        Err(Failure::argument("output's name", names.join(" or "), format_args!("{name:?}")))
    }

    /// A name as C reads it.
    fn name(&mut self, name: &str) -> *const c_char {
        let known = |known: &CString| known.to_bytes() == name.as_bytes();
        let index = self.names.iter().position(known).unwrap_or_else(|| {
            self.names.push(CString::new(name).unwrap_or_default());
            self.names.len() - 1
        });
        self.names[index].as_ptr()
    }
}

/// Runs the network. Writes its first output: a classifier's logits.
///
/// - `input`: `input_len` values of f32, contiguous in the order NCHW, the product of the four sizes at `input_shape`: any
///   number of pictures, 3 channels, rows and columns from 1 on. The caller normalises them: `mnx_model_normalisation` says
///   how. (`mnx_classifier_logits` and others take pixels instead.)
/// - `output`: room for exactly as many values as the output has, `output_len` of them. It may overlap the input.
///
/// After a failure nothing is written.
///
/// # Safety
/// `session` is NULL or a handle that is not released meanwhile; `input` is NULL or points to `input_len` values that nobody
/// changes meanwhile; `input_shape` is NULL or points to four sizes; `output` is NULL, or `output_len` values may be written
/// to it and nobody else uses them meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_session_run(
    session: *mut mnx_session,
    input: *const f32,
    input_len: usize,
    input_shape: *const usize,
    output: *mut f32,
    output_len: usize,
) -> mnx_status {
    guard(|| {
        // SAFETY: the caller's promise.
        let (session, input_shape) = unsafe { (handle(session, "session")?, shape(input_shape)?) };
        // SAFETY: the caller's promise.
        let (input, mut output) =
            unsafe { (values(input, input_len, "input")?, Room::new(output, output_len, "output")?) };
        let Running { session, .. } = &mut *enter(&session.inner, "session")?;
        let input = TensorView::new(input_shape, input)?;
        // Before the run: a wrong length costs no inference.
        if let Some((_, shape)) = session.output_shapes(input_shape)?.next() {
            output.expect(shape.iter().product())?;
        }
        output.fill(session.run(input)?.data())
    })
}

/// Runs the network as `mnx_session_run` does, and writes the outputs that are asked for by name: `count` of them.
///
/// # Safety
/// As `mnx_session_run`; `outputs` is NULL or points to `count` structures, whose members are as `mnx_session_run`'s output.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_session_run_outputs(
    session: *mut mnx_session,
    input: *const f32,
    input_len: usize,
    input_shape: *const usize,
    outputs: *const mnx_output,
    count: usize,
) -> mnx_status {
    guard(|| {
        // SAFETY: the caller's promise.
        let (session, input_shape) = unsafe { (handle(session, "session")?, shape(input_shape)?) };
        // SAFETY: the caller's promise.
        let (input, wanted) = unsafe { (values(input, input_len, "input")?, values(outputs, count, "outputs")?) };
        let mut rooms = Vec::new();
        for output in wanted {
            // SAFETY: the caller's promise.
            let (name, room) =
                unsafe { (text(output.name, "output's name")?, Room::new(output.data, output.len, "output")?) };
            rooms.push((name, room));
        }
        let running = &mut *enter(&session.inner, "session")?;
        let input = TensorView::new(input_shape, input)?;
        // Before the run: whoever asks in vain gets nothing written.
        for (name, room) in &rooms {
            let shape = running.shape_of(name, input_shape)?;
            let needed: usize = shape.iter().product();
            if needed != room.len() {
                let what = format!("output {name}");
                return Err(Failure::argument(&what, format_args!("room for {needed} values"), room.len()));
            }
        }
        let outputs = running.session.run(input)?;
        for (name, room) in &mut rooms {
            room.fill(outputs.get(name).map(|output| output.data()).unwrap_or_default())?;
        }
        Ok(())
    })
}

/// Runs the network up to the classifier, which does not run, and writes what it would see: pictures x features values
/// (`mnx_model_features`), for embeddings or a classifier of one's own.
///
/// # Safety
/// As `mnx_session_run`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_session_features(
    session: *mut mnx_session,
    input: *const f32,
    input_len: usize,
    input_shape: *const usize,
    output: *mut f32,
    output_len: usize,
) -> mnx_status {
    guard(|| {
        // SAFETY: the caller's promise.
        let (session, input_shape) = unsafe { (handle(session, "session")?, shape(input_shape)?) };
        // SAFETY: the caller's promise.
        let (input, mut room) =
            unsafe { (values(input, input_len, "input")?, Room::new(output, output_len, "output")?) };
        let Running { session, .. } = &mut *enter(&session.inner, "session")?;
        let input = TensorView::new(input_shape, input)?;
        let features = features(session.model())?;
        session.prepare(input_shape)?;
        room.expect(input_shape[0].saturating_mul(features))?;
        room.fill(session.features(input)?.data())
    })
}

/// Makes what ends this session's inferences from another thread. Never `MNX_BUSY`.
///
/// # Safety
/// `session` is NULL or a handle that is not released meanwhile; `stopper` is NULL or may be written. What it becomes belongs to
/// the caller, who releases it with `mnx_stopper_free`. After a failure it is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_session_stopper(
    session: *const mnx_session,
    stopper: *mut *mut mnx_stopper,
) -> mnx_status {
    let make = || {
        // SAFETY: the caller's promise.
        let session = unsafe { handle(session, "session") }?;
        Ok(mnx_stopper::of(&session.stopper))
    };
    // SAFETY: the caller's promise.
    unsafe { create(stopper, make) }
}

#[cfg(test)]
mod tests {
    use std::ptr::{null, null_mut};

    use super::*;
    use crate::model::small;
    use crate::stopper::{mnx_stopper_free, mnx_stopper_stop};

    const SHAPE: [usize; 4] = [1, 3, 32, 32];

    fn run(session: *mut mnx_session, len: usize) -> [mnx_status; 2] {
        let (input, mut output) = ([0.0; 3 * 32 * 32], [0.0; 2000]);
        let (data, shape, room) = (input.as_ptr(), SHAPE.as_ptr(), output.as_mut_ptr());
        // SAFETY: a live handle, and as much memory as is said.
        unsafe {
            [
                mnx_session_run(session, data, input.len(), shape, room, len),
                mnx_session_features(session, data, input.len(), shape, room, len),
            ]
        }
    }

    #[test]
    fn a_busy_session_can_be_stopped_and_asked() {
        let model = small("mobilenext-cifar");
        let (mut session, mut stopper, mut threads, mut isa) = (null_mut(), null_mut(), 0, null());
        // SAFETY: live handles, and room for what is asked for.
        unsafe {
            assert_eq!(mnx_session_new(&model, null(), &mut session), mnx_status::MNX_OK);
            let entered = (*session).inner.lock().unwrap();
            assert_eq!(run(session, 10), [mnx_status::MNX_BUSY; 2]);
            assert_eq!(mnx_session_threads(session, &mut threads), mnx_status::MNX_OK);
            assert_eq!(mnx_session_isa(session, &mut isa), mnx_status::MNX_OK);
            assert_eq!(mnx_session_stopper(session, &mut stopper), mnx_status::MNX_OK);
            assert_eq!(mnx_stopper_stop(stopper), mnx_status::MNX_OK);
            assert_eq!((threads, isa), (entered.session.threads(), isa_name(entered.session.isa()).as_ptr()));
            drop(entered);
            assert_eq!(run(session, 10)[0], mnx_status::MNX_STOPPED);
            // A wrong length is found before the run.
            assert_eq!(run(session, 11), [mnx_status::MNX_INVALID_INPUT; 2]);
            mnx_stopper_free(stopper);
            mnx_session_free(session);
        }
    }
}
