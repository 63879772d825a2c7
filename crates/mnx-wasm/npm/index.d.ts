import * as engine from "./simd128/mobilenext.js";

export type {
    Classifier, Detector, Model, Picture, Session,
    Detection, DetectOptions, MnxError, Output, Prediction, Tensor,
} from "./simd128/mobilenext.js";

/** Whether this engine has simd128. Without it the scalar build runs. */
export function hasSimd128(): boolean;

export interface LoadOptions {
    /** The build, instead of the one that fits. */
    build?: "simd128" | "scalar";
    /** Where a file of the package is: gets a path like `simd128/mobilenext_bg.wasm`. */
    at?: (path: string) => string | URL;
}

/** Loads the engine: the simd128 build, or the scalar one where there is no simd128. */
export function load(options?: LoadOptions): Promise<typeof engine>;
