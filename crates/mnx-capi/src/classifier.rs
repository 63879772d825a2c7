//! A picture in, labels out.

use std::ffi::c_char;
use std::sync::Mutex;

use mnx::{Classifier, Prediction, Stopper};

use crate::arguments::{Room, create, enter, handle, release};
use crate::model::{Labels, features, label, mnx_model};
use crate::options::{mnx_options, options_or_default};
use crate::picture::{Pixels, decode, frame, mnx_frame, open};
use crate::status::{Failure, guard, mnx_status};
use crate::stopper::mnx_stopper;

/// A session of a classifier that takes pictures: it resizes, crops and normalises them as the network was trained. Threads
/// need one each: a call while another thread is in one with the same classifier is `MNX_BUSY`.
pub struct mnx_classifier {
    inner: Mutex<Prepared>,
    /// What other threads may ask for while one is in a call.
    stopper: Stopper,
    labels: Labels,
}

struct Prepared {
    classifier: Classifier,
    /// Of the last picture, for its memory.
    predictions: Vec<Prediction>,
}

/// One class of a picture. This structure never changes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct mnx_prediction {
    /// Index of the class.
    pub index: usize,
    /// By softmax over all classes, 0 to 1.
    pub probability: f32,
    /// Its name in UTF-8; NULL if the model has no names. It belongs to the library and lives as long as the model or anything
    /// that was made of it.
    pub label: *const c_char,
}

/// Makes a classifier. `options` may be NULL for the defaults. A detector's model is `MNX_INVALID_INPUT`.
///
/// # Safety
/// `model` and `options` are NULL or handles that are not released meanwhile; `classifier` is NULL or may be written. What it
/// becomes belongs to the caller, who releases it with `mnx_classifier_free`. After a failure it is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_classifier_new(
    model: *const mnx_model,
    options: *const mnx_options,
    classifier: *mut *mut mnx_classifier,
) -> mnx_status {
    let make = || {
        // SAFETY: the caller's promise.
        let (model, options) = unsafe { (handle(model, "model")?, options_or_default(options)?) };
        let classifier = Classifier::with(&model.model, options)?;
        let stopper = classifier.session().stopper();
        let inner = Mutex::new(Prepared { classifier, predictions: Vec::new() });
        Ok(mnx_classifier { inner, stopper, labels: model.labels.clone() })
    };
    // SAFETY: the caller's promise.
    unsafe { create(classifier, make) }
}

/// Releases a classifier. NULL is fine.
///
/// # Safety
/// `classifier` is NULL or a handle that nobody uses any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_classifier_free(classifier: *mut mnx_classifier) {
    // SAFETY: the caller's promise.
    unsafe { release(classifier) }
}

/// # Safety
/// As [`mnx_classifier_classify`], but for the frame.
unsafe fn classify<'a>(
    classifier: *mut mnx_classifier,
    picture: impl FnOnce() -> Result<Pixels<'a>, Failure>,
    predictions: *mut mnx_prediction,
    capacity: usize,
    found: *mut usize,
) -> mnx_status {
    guard(|| {
        // SAFETY: the caller's promise.
        let mut found = unsafe { Room::one(found, "found") }?;
        found.write([0]);
        // SAFETY: the caller's promise.
        let (handle, mut room) =
            unsafe { (handle(classifier, "classifier")?, Room::new(predictions, capacity, "predictions")?) };
        let mnx_classifier { inner, labels, .. } = handle;
        let Prepared { classifier, predictions } = &mut *enter(inner, "classifier")?;
        let picture = picture()?;
        classifier.classify_into(picture.frame(), capacity, predictions)?;
        room.write(predictions.iter().map(|&Prediction { index, probability, .. }| mnx_prediction {
            index,
            probability,
            label: label(labels, index),
        }));
        found.write([predictions.len()]);
        Ok(())
    })
}

/// Classifies a frame: writes the most probable classes, the most probable first, at most `capacity` of them, and to `found`
/// how many. After a failure `found` is 0.
///
/// # Safety
/// `classifier` is NULL or a handle that is not released meanwhile. `frame` is NULL or points to an `mnx_frame` of
/// `struct_size` bytes, and its pixels do not change meanwhile. `predictions` is NULL, or `capacity` of them may be written;
/// `found` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_classifier_classify(
    classifier: *mut mnx_classifier,
    frame: *const mnx_frame,
    predictions: *mut mnx_prediction,
    capacity: usize,
    found: *mut usize,
) -> mnx_status {
    // SAFETY: the caller's promise.
    unsafe { classify(classifier, || Ok(Pixels::Raw(self::frame(frame)?)), predictions, capacity, found) }
}

/// Classifies a picture file: `mnx_picture_open`, then `mnx_classifier_classify`.
///
/// # Safety
/// `path` is NULL or a string that ends with NUL: on Unix any bytes, elsewhere UTF-8. The rest as in `mnx_classifier_classify`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_classifier_classify_file(
    classifier: *mut mnx_classifier,
    path: *const c_char,
    predictions: *mut mnx_prediction,
    capacity: usize,
    found: *mut usize,
) -> mnx_status {
    // SAFETY: the caller's promise.
    unsafe { classify(classifier, || Ok(Pixels::Decoded(open(path)?)), predictions, capacity, found) }
}

/// Classifies the bytes of a picture file: `mnx_picture_decode`, then `mnx_classifier_classify`.
///
/// # Safety
/// `bytes` is NULL or points to `len` bytes that do not change meanwhile. The rest as in `mnx_classifier_classify`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_classifier_classify_bytes(
    classifier: *mut mnx_classifier,
    bytes: *const u8,
    len: usize,
    predictions: *mut mnx_prediction,
    capacity: usize,
    found: *mut usize,
) -> mnx_status {
    // SAFETY: the caller's promise.
    unsafe { classify(classifier, || Ok(Pixels::Decoded(decode(bytes, len)?)), predictions, capacity, found) }
}

/// Writes a frame's logits, one for each class (`mnx_model_classes`), to room for exactly as many values.
///
/// # Safety
/// `classifier` is NULL or a handle that is not released meanwhile. `frame` is NULL or points to an `mnx_frame` of
/// `struct_size` bytes, and its pixels do not change meanwhile. `logits` is NULL, or `len` values may be written to it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_classifier_logits(
    classifier: *mut mnx_classifier,
    frame: *const mnx_frame,
    logits: *mut f32,
    len: usize,
) -> mnx_status {
    guard(|| {
        // SAFETY: the caller's promise.
        let classifier = unsafe { handle(classifier, "classifier") }?;
        // SAFETY: the caller's promise.
        let (mut room, frame) = unsafe { (Room::new(logits, len, "logits")?, self::frame(frame)?) };
        let Prepared { classifier, .. } = &mut *enter(&classifier.inner, "classifier")?;
        room.expect(classifier.model().spec().classes)?;
        room.fill(classifier.logits(frame)?)
    })
}

/// Writes a frame's embedding: what the classifier would see of it, `mnx_model_features` values, to room for exactly as many.
/// Pictures that look alike have embeddings that point the same way.
///
/// # Safety
/// As `mnx_classifier_logits`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_classifier_embedding(
    classifier: *mut mnx_classifier,
    frame: *const mnx_frame,
    embedding: *mut f32,
    len: usize,
) -> mnx_status {
    guard(|| {
        // SAFETY: the caller's promise.
        let classifier = unsafe { handle(classifier, "classifier") }?;
        // SAFETY: the caller's promise.
        let (mut room, frame) = unsafe { (Room::new(embedding, len, "embedding")?, self::frame(frame)?) };
        let Prepared { classifier, .. } = &mut *enter(&classifier.inner, "classifier")?;
        room.expect(features(classifier.model())?)?;
        room.fill(classifier.embedding(frame)?)
    })
}

/// Makes what ends this classifier's inferences from another thread. Never `MNX_BUSY`.
///
/// # Safety
/// `classifier` is NULL or a handle that is not released meanwhile; `stopper` is NULL or may be written. What it becomes belongs to
/// the caller, who releases it with `mnx_stopper_free`. After a failure it is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_classifier_stopper(
    classifier: *const mnx_classifier,
    stopper: *mut *mut mnx_stopper,
) -> mnx_status {
    let make = || {
        // SAFETY: the caller's promise.
        let classifier = unsafe { handle(classifier, "classifier") }?;
        Ok(mnx_stopper::of(&classifier.stopper))
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

    /// A grey pixel.
    fn pixel() -> mnx_frame {
        mnx_frame {
            struct_size: size_of::<mnx_frame>(),
            format: crate::picture::mnx_format::MNX_GREY8 as i32,
            width: 1,
            height: 1,
            pixels: b"\x80".as_ptr(),
            pixels_len: 1,
            stride: 1,
            chroma: null(),
            chroma_len: 0,
            chroma_stride: 0,
        }
    }

    #[test]
    fn a_busy_classifier_can_be_stopped() {
        let model = small("mobilenext-cifar");
        let (mut classifier, mut stopper, mut found) = (null_mut(), null_mut(), 9);
        // SAFETY: live handles, and room for what is asked for.
        unsafe {
            assert_eq!(mnx_classifier_new(&model, null(), &mut classifier), mnx_status::MNX_OK);
            let entered = (*classifier).inner.lock().unwrap();
            // The file is not looked at.
            let path = c"no/such.png".as_ptr();
            let status = mnx_classifier_classify_file(classifier, path, null_mut(), 0, &mut found);
            assert_eq!((status, found), (mnx_status::MNX_BUSY, 0));
            assert_eq!(mnx_classifier_stopper(classifier, &mut stopper), mnx_status::MNX_OK);
            assert_eq!(mnx_stopper_stop(stopper), mnx_status::MNX_OK);
            drop(entered);
            let frame = pixel();
            let status = mnx_classifier_classify(classifier, &frame, null_mut(), 0, &mut found);
            assert_eq!(status, mnx_status::MNX_STOPPED);
            // A wrong length is found before the run.
            let mut room = [0.0; 9];
            let (room, len) = (room.as_mut_ptr(), room.len());
            assert_eq!(mnx_classifier_logits(classifier, &frame, room, len), mnx_status::MNX_INVALID_INPUT);
            assert_eq!(mnx_classifier_embedding(classifier, &frame, room, len), mnx_status::MNX_INVALID_INPUT);
            mnx_stopper_free(stopper);
            mnx_classifier_free(classifier);
        }
    }

    #[test]
    fn nothing_is_found_after_a_failure() {
        let model = small("mobilenext-cifar");
        let mut classifier = null_mut();
        // SAFETY: NULL, or live handles and room for what is asked for.
        unsafe {
            assert_eq!(mnx_classifier_new(&model, null(), &mut classifier), mnx_status::MNX_OK);
            for (handle, capacity) in [(null_mut(), 0), (classifier, 1)] {
                let mut found = 9;
                let status = mnx_classifier_classify(handle, null(), null_mut(), capacity, &mut found);
                assert_eq!((status, found), (mnx_status::MNX_INVALID_INPUT, 0));
            }
            mnx_classifier_free(classifier);
        }
    }
}
