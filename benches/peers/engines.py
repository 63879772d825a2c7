"""The engines with Python packages, as programs that run.py drives.

    python engines.py ENGINE MODEL INPUT BATCH SIDE THREADS WARMUP LOGITS [CALLERS]

The protocol is that of rust/protocol/src/lib.rs. Each loader takes (path of the model, input N x 3 x SIDE x SIDE,
threads), imports before `clock.start()` what it needs, and returns a function without arguments that gives the logits.
"""

import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np


class Clock:
    """`first_logits_ms` counts from here: libraries are imported, the model is not open yet."""

    def start(self) -> None:
        self.started = time.perf_counter_ns()

    def milliseconds(self) -> float:
        return (time.perf_counter_ns() - self.started) / 1e6


clock = Clock()


def onnxruntime(model: str, x: np.ndarray, threads: int):
    import onnxruntime as ort

    clock.start()
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: x}
    return lambda: session.run(None, feed)[0]


def openvino(model: str, x: np.ndarray, threads: int):
    # The default precision is bf16 where the CPU has it: another network.
    return openvino_compiled(model, x, threads, {"INFERENCE_PRECISION_HINT": "f32"})[0]


def openvino_default(model: str, x: np.ndarray, threads: int):
    infer, precision = openvino_compiled(model, x, threads, {})
    if precision == "f32":
        raise ValueError("computes in f32 on this CPU, as the engine openvino does")
    return infer


def openvino_int8(model: str, x: np.ndarray, threads: int):
    # What is not quantised may be bf16, as it comes.
    return openvino_compiled(model, x, threads, {})[0]


def openvino_compiled(model: str, x: np.ndarray, threads: int, precision: dict):
    """(function from nothing to logits, precision of what is not quantised)."""
    import openvino as ov

    clock.start()
    settings = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": threads}
    compiled = ov.Core().compile_model(model, "CPU", settings | precision)
    return openvino_request(compiled, x), compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()


def openvino_request(compiled, x: np.ndarray):
    import openvino as ov

    request = compiled.create_infer_request()
    request.set_input_tensor(0, ov.Tensor(x, shared_memory=True))

    def infer():
        request.infer()
        return request.get_output_tensor(0).data

    return infer


def ncnn(model: str, x: np.ndarray, threads: int):
    import ncnn

    if len(x) != 1:
        raise ValueError("takes one picture at a time")
    clock.start()
    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_vulkan_compute = False
    for half in ["use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"]:
        setattr(net.opt, half, False)
    if net.load_param(model) or net.load_model(str(Path(model).with_suffix(".bin"))):
        raise RuntimeError(f"{model}: not loaded")
    picture = ncnn.Mat(x[0]).clone()

    def infer():
        extractor = net.create_extractor()
        extractor.input("in0", picture)
        return np.array(extractor.extract("out0")[1])

    return infer


def mnn(model: str, x: np.ndarray, threads: int):
    import MNN

    clock.start()
    net = MNN.Interpreter(model)
    session = net.createSession({"backend": "CPU", "numThread": threads, "precision": "high"})
    source, sink = net.getSessionInput(session), net.getSessionOutput(session)
    shape = sink.getShape()

    def tensor(array):
        return MNN.Tensor(array.shape, MNN.Halide_Type_Float, array, MNN.Tensor_DimensionType_Caffe)

    pictures, logits = tensor(x), tensor(np.zeros(shape, np.float32))

    def infer(net=net):  # The session does not keep its interpreter alive.
        source.copyFrom(pictures)
        net.runSession(session)
        sink.copyToHostTensor(logits)
        return logits.getNumpyData()

    return infer


def litert(model: str, x: np.ndarray, threads: int):
    from ai_edge_litert.interpreter import Interpreter

    clock.start()
    interpreter = Interpreter(model_path=model, num_threads=threads)
    interpreter.allocate_tensors()
    source, sink = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def infer():
        interpreter.set_tensor(source, x)
        interpreter.invoke()
        return interpreter.get_tensor(sink)

    return infer


def torch_network(weights: str, threads: int):
    """The folded network of a safetensors file that says which one it is."""
    import torch
    from safetensors import safe_open

    import model

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    clock.start()
    with safe_open(weights, "pt") as file:
        network = model.build(file.metadata()["network"])
        network.load_state_dict({name: file.get_tensor(name) for name in file.keys()})
    return torch, model.fold(network).to(memory_format=torch.channels_last)


def torch_eager(model: str, x: np.ndarray, threads: int):
    torch, network = torch_network(model, threads)
    pictures = torch.from_numpy(x)

    def infer():
        with torch.inference_mode():
            return network(pictures.to(memory_format=torch.channels_last)).numpy()

    return infer


def torch_jit(model: str, x: np.ndarray, threads: int):
    torch, network = torch_network(model, threads)
    pictures = torch.from_numpy(x)
    traced = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(network, pictures)))
    return lambda: traced(pictures).numpy()


def torch_inductor(model: str, x: np.ndarray, threads: int):
    from torch._inductor import config

    config.freezing = True
    torch, network = torch_network(model, threads)
    pictures, compiled = torch.from_numpy(x), torch.compile(network)
    return lambda: compiled(pictures).numpy()


def onnxruntime_callers(model: str, x: np.ndarray, threads: int, callers: int) -> list:
    # A run takes place on the thread that asks for it. So many at once, and the others wait, is faster than all at once.
    infer, workers = onnxruntime(model, x, 1), ThreadPoolExecutor(threads)
    return [lambda: workers.submit(infer).result()] * callers


def openvino_callers(model: str, x: np.ndarray, threads: int, callers: int) -> list:
    return openvino_throughput(model, x, threads, callers, {"INFERENCE_PRECISION_HINT": "f32"})[0]


def openvino_default_callers(model: str, x: np.ndarray, threads: int, callers: int) -> list:
    infers, precision = openvino_throughput(model, x, threads, callers, {})
    if precision == "f32":
        raise ValueError("computes in f32 on this CPU, as the engine openvino does")
    return infers


def openvino_int8_callers(model: str, x: np.ndarray, threads: int, callers: int) -> list:
    return openvino_throughput(model, x, threads, callers, {})[0]


def openvino_throughput(model: str, x: np.ndarray, threads: int, callers: int, precision: dict):
    """(functions from nothing to logits, precision of what is not quantised)."""
    import openvino as ov

    clock.start()
    settings = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_NUM_THREADS": threads}
    compiled = ov.Core().compile_model(model, "CPU", settings | precision)
    infers = [openvino_request(compiled, x) for _ in range(callers)]
    return infers, compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()


# Of engines that have a mode for it: a function for each of so many callers, on so many threads in all.
CALLERS = {
    "onnxruntime": onnxruntime_callers,
    "openvino": openvino_callers,
    "openvino-default": openvino_default_callers,
    "onnxruntime-int8": onnxruntime_callers,
    "openvino-int8": openvino_int8_callers,
}


def all_at_once(callers: list, iterations: int) -> dict:
    """Every caller on a thread of its own, so many inferences each. Milliseconds of all together, and of each inference."""
    start, ends, samples = threading.Barrier(len(callers) + 1), [], []

    def one(infer) -> None:
        times = []
        start.wait()
        for _ in range(iterations):
            begun = time.perf_counter_ns()
            infer()
            times.append((time.perf_counter_ns() - begun) / 1e6)
        ends.append(time.perf_counter_ns())
        samples.extend(times)

    running = [threading.Thread(target=one, args=[infer]) for infer in callers]
    for thread in running:
        thread.start()
    begun = time.perf_counter_ns()
    start.wait()
    for thread in running:
        thread.join()
    if len(ends) < len(callers):
        raise RuntimeError("an inference failed")
    return {"ms": (max(ends) - begun) / 1e6, "samples_ms": samples}


LOADERS = {
    "onnxruntime": onnxruntime,
    "openvino": openvino,
    "litert": litert,
    "ncnn": ncnn,
    "mnn": mnn,
    "torch-eager": torch_eager,
    "torch-jit": torch_jit,
    "torch-inductor": torch_inductor,
    "onnxruntime-int8": onnxruntime,
    "openvino-int8": openvino_int8,
    "litert-int8": litert,
    "ncnn-int8": ncnn,
    "mnn-int8": mnn,
    "openvino-default": openvino_default,
}


def main() -> None:
    engine, path, input_path, batch, side, threads, warmup, logits_path, *callers = sys.argv[1:]
    # Libraries print what they like to stdout: they get stderr, answers go to the original.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(what) -> None:
        print(json.dumps(what), file=answers, flush=True)

    x = np.fromfile(input_path, "<f4").reshape(int(batch), 3, int(side), int(side))
    if callers and engine not in CALLERS:
        sys.exit("is not measured with several callers")
    if callers:
        streams = CALLERS[engine](path, x, int(threads), int(callers[0]))
        infer = streams[0]
    else:
        infer = LOADERS[engine](path, x, int(threads))
    logits = infer()
    first = clock.milliseconds()
    for _ in range(int(warmup)):
        logits = infer()
    np.asarray(logits, "<f4").tofile(logits_path)
    answer({"first_logits_ms": first})
    for line in sys.stdin:
        if callers:
            answer(all_at_once(streams, int(line)))
            continue
        times = []
        for _ in range(int(line)):
            start = time.perf_counter_ns()
            infer()
            times.append((time.perf_counter_ns() - start) / 1e6)
        answer(times)


if __name__ == "__main__":
    main()
