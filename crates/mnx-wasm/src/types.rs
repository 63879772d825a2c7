//! Types of what goes to JavaScript and comes from there, for TypeScript.

use wasm_bindgen::prelude::wasm_bindgen;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** One class of a picture. */
export interface Prediction {
    /** Index of the class. */
    index: number;
    /** Its name; null if the model has no names. */
    label: string | null;
    /** By softmax over all classes, 0 to 1. */
    probability: number;
}

/** Something that was found in a picture. Edges are in pixels of the picture. */
export interface Detection {
    /** Index of the class, from 1 on. */
    index: number;
    /** Its name; null if the model has no names. */
    label: string | null;
    /** 0 to 1. */
    score: number;
    xmin: number;
    ymin: number;
    xmax: number;
    ymax: number;
}

/** Which boxes a detector gives. What is not there is the model's own default. */
export interface DetectOptions {
    /** Boxes count if their score is above this, 0 to 1. */
    score?: number;
    /** A box is dropped if its intersection over union with a better one of its class is above this, 0 to 1. */
    iou?: number;
    /** At most this many boxes, from 1 on. */
    top?: number;
    /** Whether boxes are cut off at the picture's edges. */
    clip?: boolean;
}

/** Numbers in the order of `shape`: pictures, channels, rows, columns. */
export interface Tensor {
    shape: [number, number, number, number];
    data: Float32Array<ArrayBuffer>;
}

/** An output of a network, by its name: `logits`, or a detector's `scores` and `boxes`. */
export interface Output extends Tensor {
    name: string;
}

/**
 * What functions throw.
 *
 * Some errors have no `kind`: a `TypeError` for a BigInt, a symbol or an object without a number where a number is expected,
 * an `Error` for an object of another class or one after `free()`, and what `fetch` and `import` throw inside `load`.
 */
export interface MnxError extends Error {
    name: "MnxError";
    kind: "InvalidInput" | "InvalidFile" | "Unsupported" | "Limit" | "Memory" | "Internal" | "NotFound" | "Io";
}
"#;

#[wasm_bindgen]
extern "C" {
    /// `Prediction[]`.
    #[wasm_bindgen(typescript_type = "Prediction[]")]
    pub type PredictionList;

    /// `Detection[]`.
    #[wasm_bindgen(typescript_type = "Detection[]")]
    pub type DetectionList;

    /// `Output[]`.
    #[wasm_bindgen(typescript_type = "Output[]")]
    pub type OutputList;

    /// `Tensor`.
    #[wasm_bindgen(typescript_type = "Tensor")]
    pub type TensorObject;

    /// `string[]`, or null.
    #[wasm_bindgen(typescript_type = "string[] | null")]
    pub type LabelList;

    /// An array or a typed array of numbers.
    #[wasm_bindgen(typescript_type = "ArrayLike<number>")]
    pub type NumberList;
}
