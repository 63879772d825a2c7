//! A picture in, boxes out.

use std::ffi::c_char;
use std::sync::Mutex;

use mnx::{DetectOptions, Detector, Stopper};

use crate::arguments::{Room, create, enter, handle, release};
use crate::model::{Labels, label, mnx_model};
use crate::options::{mnx_options, options_or_default};
use crate::picture::{Pixels, decode, frame, mnx_frame, open};
use crate::status::{Failure, guard, mnx_status};
use crate::stopper::mnx_stopper;

/// A session of a detector that takes pictures and gives boxes. Threads need one each: a call while another thread is in one
/// with the same detector is `MNX_BUSY`.
pub struct mnx_detector {
    inner: Mutex<Prepared>,
    /// What other threads may ask for while one is in a call.
    stopper: Stopper,
    labels: Labels,
}

struct Prepared {
    detector: Detector,
    options: DetectOptions,
}

/// Something that was found in a picture, and where. Coordinates are pixels of the picture: 0, 0 is its upper left corner;
/// width, height its lower right one. This structure never changes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct mnx_detection {
    /// Index of the class, from 1 on: 0 is the background.
    pub index: usize,
    /// Above the threshold, at most 1.
    pub score: f32,
    /// Left edge.
    pub xmin: f32,
    /// Upper edge.
    pub ymin: f32,
    /// Right edge.
    pub xmax: f32,
    /// Lower edge.
    pub ymax: f32,
    /// Name of the class in UTF-8; NULL if the model has no names. It belongs to the library and lives as long as the model or
    /// anything that was made of it.
    pub label: *const c_char,
}

/// Makes a detector with the model's own thresholds. `options` may be NULL for the defaults. A classifier's model is
/// `MNX_INVALID_INPUT`.
///
/// # Safety
/// `model` and `options` are NULL or handles that are not released meanwhile; `detector` is NULL or may be written. What it
/// becomes belongs to the caller, who releases it with `mnx_detector_free`. After a failure it is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_detector_new(
    model: *const mnx_model,
    options: *const mnx_options,
    detector: *mut *mut mnx_detector,
) -> mnx_status {
    let make = || {
        // SAFETY: the caller's promise.
        let (model, options) = unsafe { (handle(model, "model")?, options_or_default(options)?) };
        let detector = Detector::with(&model.model, options)?;
        let stopper = detector.session().stopper();
        let inner = Mutex::new(Prepared { detector, options: DetectOptions::new() });
        Ok(mnx_detector { inner, stopper, labels: model.labels.clone() })
    };
    // SAFETY: the caller's promise.
    unsafe { create(detector, make) }
}

/// Releases a detector. NULL is fine.
///
/// # Safety
/// `detector` is NULL or a handle that nobody uses any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_detector_free(detector: *mut mnx_detector) {
    // SAFETY: the caller's promise.
    unsafe { release(detector) }
}

/// # Safety
/// `detector` is NULL or a handle that is not released meanwhile.
unsafe fn change(detector: *mut mnx_detector, change: impl FnOnce(DetectOptions) -> DetectOptions) -> mnx_status {
    guard(|| {
        // SAFETY: the caller's promise.
        let detector = unsafe { handle(detector, "detector") }?;
        let prepared = &mut *enter(&detector.inner, "detector")?;
        let options = change(prepared.options);
        prepared.detector.set_options(options)?;
        prepared.options = options;
        Ok(())
    })
}

/// Sets the score above which boxes count, 0 to 1.
///
/// # Safety
/// `detector` is NULL or a handle that is not released meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_detector_set_score(detector: *mut mnx_detector, score: f32) -> mnx_status {
    // SAFETY: the caller's promise.
    unsafe { change(detector, |options| options.score(score)) }
}

/// Sets the overlap (intersection over union, 0 to 1) with a better box of its class above which a box is dropped.
///
/// # Safety
/// `detector` is NULL or a handle that is not released meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_detector_set_iou(detector: *mut mnx_detector, iou: f32) -> mnx_status {
    // SAFETY: the caller's promise.
    unsafe { change(detector, |options| options.iou(iou)) }
}

/// Sets how many boxes there are at most, from 1 on: the best of all classes.
///
/// # Safety
/// `detector` is NULL or a handle that is not released meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_detector_set_top(detector: *mut mnx_detector, top: usize) -> mnx_status {
    // SAFETY: the caller's promise.
    unsafe { change(detector, |options| options.top(top)) }
}

/// Sets whether boxes are cut off at the picture's edges.
///
/// # Safety
/// `detector` is NULL or a handle that is not released meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_detector_set_clip(detector: *mut mnx_detector, clip: bool) -> mnx_status {
    // SAFETY: the caller's promise.
    unsafe { change(detector, |options| options.clip(clip)) }
}

/// # Safety
/// As [`mnx_detector_detect`], but for the frame.
unsafe fn detect<'a>(
    detector: *mut mnx_detector,
    picture: impl FnOnce() -> Result<Pixels<'a>, Failure>,
    detections: *mut mnx_detection,
    capacity: usize,
    found: *mut usize,
) -> mnx_status {
    guard(|| {
        // SAFETY: the caller's promise.
        let mut found = unsafe { Room::one(found, "found") }?;
        found.write([0]);
        // SAFETY: the caller's promise.
        let (handle, mut room) =
            unsafe { (handle(detector, "detector")?, Room::new(detections, capacity, "detections")?) };
        let mnx_detector { inner, labels, .. } = handle;
        let prepared = &mut *enter(inner, "detector")?;
        let picture = picture()?;
        let boxes = prepared.detector.detect(picture.frame())?;
        found.write([boxes.len()]);
        room.write(boxes.map(|found| {
            let mnx::Detection { index, score, xmin, ymin, xmax, ymax, .. } = found;
            mnx_detection { index, score, xmin, ymin, xmax, ymax, label: label(labels, index) }
        }));
        Ok(())
    })
}

/// Detects what is in a frame: writes boxes, the highest score first, at most `capacity` of them, and to `found` how many there
/// are, which may be more. After a failure `found` is 0.
///
/// # Safety
/// `detector` is NULL or a handle that is not released meanwhile. `frame` is NULL or points to an `mnx_frame` of `struct_size`
/// bytes, and its pixels do not change meanwhile. `detections` is NULL, or `capacity` of them may be written; `found` is NULL
/// or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_detector_detect(
    detector: *mut mnx_detector,
    frame: *const mnx_frame,
    detections: *mut mnx_detection,
    capacity: usize,
    found: *mut usize,
) -> mnx_status {
    // SAFETY: the caller's promise.
    unsafe { detect(detector, || Ok(Pixels::Raw(self::frame(frame)?)), detections, capacity, found) }
}

/// Detects what is in a picture file: `mnx_picture_open`, then `mnx_detector_detect`.
///
/// # Safety
/// `path` is NULL or a string that ends with NUL: on Unix any bytes, elsewhere UTF-8. The rest as in `mnx_detector_detect`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_detector_detect_file(
    detector: *mut mnx_detector,
    path: *const c_char,
    detections: *mut mnx_detection,
    capacity: usize,
    found: *mut usize,
) -> mnx_status {
    // SAFETY: the caller's promise.
    unsafe { detect(detector, || Ok(Pixels::Decoded(open(path)?)), detections, capacity, found) }
}

/// Detects what is in the bytes of a picture file: `mnx_picture_decode`, then `mnx_detector_detect`.
///
/// # Safety
/// `bytes` is NULL or points to `len` bytes that do not change meanwhile. The rest as in `mnx_detector_detect`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_detector_detect_bytes(
    detector: *mut mnx_detector,
    bytes: *const u8,
    len: usize,
    detections: *mut mnx_detection,
    capacity: usize,
    found: *mut usize,
) -> mnx_status {
    // SAFETY: the caller's promise.
    unsafe { detect(detector, || Ok(Pixels::Decoded(decode(bytes, len)?)), detections, capacity, found) }
}

/// Makes what ends this detector's inferences from another thread. Never `MNX_BUSY`.
///
/// # Safety
/// `detector` is NULL or a handle that is not released meanwhile; `stopper` is NULL or may be written. What it becomes belongs to
/// the caller, who releases it with `mnx_stopper_free`. After a failure it is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_detector_stopper(
    detector: *const mnx_detector,
    stopper: *mut *mut mnx_stopper,
) -> mnx_status {
    let make = || {
        // SAFETY: the caller's promise.
        let detector = unsafe { handle(detector, "detector") }?;
        Ok(mnx_stopper::of(&detector.stopper))
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

    #[test]
    fn a_busy_detector_can_be_stopped() {
        let model = small("ssdlite-mobilenext");
        let (mut detector, mut stopper, mut found) = (null_mut(), null_mut(), 9);
        // SAFETY: live handles, and room for what is asked for.
        unsafe {
            assert_eq!(mnx_detector_new(&model, null(), &mut detector), mnx_status::MNX_OK);
            let entered = (*detector).inner.lock().unwrap();
            // The file is not looked at.
            let path = c"no/such.png".as_ptr();
            let status = mnx_detector_detect_file(detector, path, null_mut(), 0, &mut found);
            assert_eq!((status, found), (mnx_status::MNX_BUSY, 0));
            assert_eq!(mnx_detector_stopper(detector, &mut stopper), mnx_status::MNX_OK);
            assert_eq!(mnx_stopper_stop(stopper), mnx_status::MNX_OK);
            drop(entered);
            mnx_stopper_free(stopper);
            mnx_detector_free(detector);
        }
    }

    #[test]
    fn nothing_is_found_after_a_failure() {
        let model = small("ssdlite-mobilenext");
        let mut detector = null_mut();
        // SAFETY: NULL, or live handles and room for what is asked for.
        unsafe {
            assert_eq!(mnx_detector_new(&model, null(), &mut detector), mnx_status::MNX_OK);
            for (handle, capacity) in [(null_mut(), 0), (detector, 1)] {
                let mut found = 9;
                let status = mnx_detector_detect(handle, null(), null_mut(), capacity, &mut found);
                assert_eq!((status, found), (mnx_status::MNX_INVALID_INPUT, 0));
            }
            mnx_detector_free(detector);
        }
    }
}
