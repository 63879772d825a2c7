//! NULL for every pointer is a status with a sentence. `tests/c/bad_input.c` tries much more, where there is a C compiler.

use std::ffi::CStr;
use std::ptr::{null, null_mut};

use mnx_capi::mnx_status::MNX_INVALID_INPUT;
use mnx_capi::*;

#[test]
fn null_is_a_status() {
    // SAFETY: NULL is always allowed.
    let statuses = unsafe {
        [
            mnx_model_open(null(), null_mut()),
            mnx_model_from_bytes(null(), 1, null_mut()),
            mnx_model_embedded(null(), null_mut()),
            mnx_model_is_detector(null(), null_mut()),
            mnx_model_classes(null(), null_mut()),
            mnx_model_resolution(null(), null_mut()),
            mnx_model_features(null(), null_mut()),
            mnx_model_normalisation(null(), null_mut(), null_mut()),
            mnx_model_label(null(), 0, null_mut()),
            mnx_options_new(null_mut()),
            mnx_options_set_threads(null_mut(), 1),
            mnx_options_set_isa(null_mut(), null()),
            mnx_options_set_dot_products(null_mut(), true),
            mnx_options_set_amx(null_mut(), true),
            mnx_session_new(null(), null(), null_mut()),
            mnx_session_threads(null(), null_mut()),
            mnx_session_isa(null(), null_mut()),
            mnx_session_outputs(null_mut(), null(), null_mut()),
            mnx_session_output(null_mut(), null(), 0, null_mut(), null_mut()),
            mnx_session_run(null_mut(), null(), 0, null(), null_mut(), 0),
            mnx_session_run_outputs(null_mut(), null(), 0, null(), null(), 0),
            mnx_session_features(null_mut(), null(), 0, null(), null_mut(), 0),
            mnx_session_stopper(null(), null_mut()),
            mnx_picture_open(null(), null_mut()),
            mnx_picture_decode(null(), 1, null_mut()),
            mnx_picture_frame(null(), null_mut()),
            mnx_classifier_new(null(), null(), null_mut()),
            mnx_classifier_classify(null_mut(), null(), null_mut(), 1, null_mut()),
            mnx_classifier_classify_file(null_mut(), null(), null_mut(), 1, null_mut()),
            mnx_classifier_classify_bytes(null_mut(), null(), 1, null_mut(), 1, null_mut()),
            mnx_classifier_logits(null_mut(), null(), null_mut(), 1),
            mnx_classifier_embedding(null_mut(), null(), null_mut(), 1),
            mnx_classifier_stopper(null(), null_mut()),
            mnx_detector_new(null(), null(), null_mut()),
            mnx_detector_set_score(null_mut(), 0.5),
            mnx_detector_set_iou(null_mut(), 0.5),
            mnx_detector_set_top(null_mut(), 1),
            mnx_detector_set_clip(null_mut(), true),
            mnx_detector_detect(null_mut(), null(), null_mut(), 1, null_mut()),
            mnx_detector_detect_file(null_mut(), null(), null_mut(), 1, null_mut()),
            mnx_detector_detect_bytes(null_mut(), null(), 1, null_mut(), 1, null_mut()),
            mnx_detector_stopper(null(), null_mut()),
            mnx_stopper_stop(null()),
            mnx_stopper_resume(null()),
        ]
    };
    assert!(statuses.iter().all(|status| *status == MNX_INVALID_INPUT), "{statuses:?}");
    // SAFETY: NULL is always allowed.
    unsafe {
        mnx_model_free(null_mut());
        mnx_options_free(null_mut());
        mnx_session_free(null_mut());
        mnx_picture_free(null_mut());
        mnx_classifier_free(null_mut());
        mnx_detector_free(null_mut());
        mnx_stopper_free(null_mut());
    }
    // SAFETY: the library's string, read at once.
    let message = unsafe { CStr::from_ptr(mnx_last_error()) };
    assert_eq!(message.to_str(), Ok("stopper: expected a handle, found NULL"));
}

#[cfg(feature = "image")]
#[test]
fn frames_of_other_sizes() {
    let file = b"P6 1 1 255\n\x01\x02\x03";
    let mut picture = null_mut();
    // SAFETY: plain numbers and pointers.
    let mut frame: mnx_frame = unsafe { std::mem::zeroed() };
    // SAFETY: live handles, bytes that are there, and a frame of at least `struct_size` bytes.
    unsafe {
        assert_eq!(mnx_picture_decode(file.as_ptr(), file.len(), &mut picture), mnx_status::MNX_OK);
        for struct_size in [0, 1, size_of::<mnx_frame>() - 1, 4097, usize::MAX] {
            frame.struct_size = struct_size;
            assert_eq!(mnx_picture_frame(picture, &mut frame), MNX_INVALID_INPUT);
            assert_eq!(frame.width, 0);
        }
        frame.struct_size = size_of::<mnx_frame>();
        assert_eq!(mnx_picture_frame(picture, &mut frame), mnx_status::MNX_OK);
        assert_eq!(std::slice::from_raw_parts(frame.pixels, frame.pixels_len), [1, 2, 3]);
        mnx_picture_free(picture);
    }
    assert_eq!((frame.width, frame.height, frame.stride, frame.struct_size), (1, 1, 3, size_of::<mnx_frame>()));
}
