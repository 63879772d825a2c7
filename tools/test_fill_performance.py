#!/usr/bin/env python3
"""Tests of tools/fill_performance: places, tables and what it says of a busy machine, on records made up here."""

import contextlib
import importlib.machinery
import importlib.util
import io
import json
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
loader = importlib.machinery.SourceFileLoader("fill_performance", str(HERE / "fill_performance"))
fill = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
loader.exec_module(fill)

HEAD = {"machine": {"cpu": "A CPU"}, "mnx": "abc", "date": "2026-01-02", "command": "measure"}


def bench(threads: int, batch: int, median: float, peak: float = 100.0) -> dict:
    latency = {"median": median}
    rest = {"macs": 2_000_000, "percent_of_peak": 50.4, "fma_peak_gflops": peak, "peak_arena_bytes": 1_550_000}
    return {"threads": threads, "batch": batch, "latency_ms": latency, **rest}


def engine(name: str, median: float, agrees: bool = True) -> dict:
    return {"name": name, "version": "1", "median_ms": median, "percent_of_peak": 10.0, "ratio_to_mnx": median, "agrees": agrees}


def page(record: dict, view: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "it.json").write_text(json.dumps(record))
        return fill.filled(f"before\n<!-- record: it {view} -->\nold\n<!-- /record -->\nafter\n", Path(folder))


def a_place_gets_its_table_and_nothing_else_changes() -> None:
    rows = [{"label": "one", "runs": [bench(1, 1, 2.0), bench(2, 1, 1.0)]}, {"label": "eight", "runs": [bench(1, 8, 4.0), bench(2, 8, 2.0)]}]
    assert page(HEAD | {"rows": rows}, "networks") == """before
<!-- record: it networks -->
| network | multiply-adds | 1 thread, median | of FMA peak | 2 threads, median | of FMA peak | arena |
| --- | --- | --- | --- | --- | --- | --- |
| one | 2.00 M | 2.00 ms | 50 % | 1.00 ms | 50 % | 1.6 MB |
| eight | 2.00 M | 2000 pictures/s | 50 % | 4000 pictures/s | 50 % | 1.6 MB |

A CPU; mnx abc; 2026-01-02; `measure`. FMA peak in GFLOP/s: 100.0 to 100.0 (1 thread), 100.0 to 100.0 (2 threads).
<!-- /record -->
after
"""


def a_busy_machine_is_said() -> None:
    rows = [{"label": "one", "runs": [bench(1, 1, 2.0, peak)]} for peak in (100.0, 111.0)]
    assert "busy" in page(HEAD | {"rows": rows}, "networks")


def engines_that_compute_something_else_have_no_figures() -> None:
    found = [engine("mnx", 1.0), engine("wrong", 0.5, agrees=False), {"name": "gone", "version": None, "error": "why"}]
    runs = [{"threads": threads, "fma_peak_gflops": [100.0, 101.0], "engines": found} for threads in (1, 2)]
    text = page(HEAD | {"runs": runs}, "engines")
    assert "| mnx 1 | 1.00 ms | 10 % | 1.00 | 1.00 ms | 10 % | 1.00 |\n" in text, text
    assert "| wrong 1 | - | - | - | - | - | - |\n| gone | - | - | - | - | - | - |\n" in text, text


def the_short_table_is_of_one_thread() -> None:
    runs = [{"threads": 2, "fma_peak_gflops": [9.0], "engines": []}]
    runs += [{"threads": 1, "fma_peak_gflops": [8.0], "engines": [engine(f"e{n}", 1.0 + n) for n in range(9)]}]
    lines = [line for line in page(HEAD | {"runs": runs}, "fastest").splitlines() if line.startswith("| e")]
    assert len(lines) == 1 + fill.FASTEST and lines[-1].startswith("| e5 1 "), lines


def run_of(threads: int, engines: list[dict], peak: float = 8.0) -> dict:
    return {"network": "net", "threads": threads, "fma_peak_gflops": [8.0, peak], "engines": engines}


def networks_stand_beside_the_two_fastest_in_f32() -> None:
    default = engine("openvino-default", 0.7)
    others = [engine("litert", 1.5), engine("wrong", 0.5, agrees=False), engine("openvino", 1.8), engine("onnxruntime", 2.0)]
    runs = [run_of(1, [default, engine("mnx", 1.0), *others]), run_of(2, [engine("mnx", 1.0), engine("litert", 1.5)], peak=9.0)]
    lines = page(HEAD | {"runs": runs}, "beside").splitlines()
    assert "| net, 1 | 1.00 ms | 10 % | LiteRT 1.50 ms | 1.50 | OpenVINO 1.80 ms | 1.80 | 0.70 ms | 0.70 |" in lines, lines
    assert "| net, 2 (busy) | 1.00 ms | 10 % | LiteRT 1.50 ms | 1.50 | - | - | - | - |" in lines, lines


def callers_have_rates() -> None:
    one = engine("mnx", 1.0) | {"pictures_per_second": 100.0, "p99_ms": 3.0}
    lines = page(HEAD | {"callers": [run_of(2, [one, engine("wrong", 0.5, agrees=False)])]}, "callers").splitlines()
    assert "| net | mnx 1 | 100.0 | 1.00 | 3.00 | 1.00 |" in lines, lines
    assert not any("wrong" in line for line in lines), lines


def without_a_record_a_place_keeps_its_table() -> None:
    text = "<!-- record: none networks -->\nold\n<!-- /record -->\n"
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()) as said:
        assert fill.filled(text, Path(folder)) == text
    assert "no record none" in said.getvalue()


def an_unknown_view_is_an_error() -> None:
    try:
        page(HEAD, "pie")
    except SystemExit as error:
        assert "found pie" in str(error)
    else:
        raise AssertionError("no error")


if __name__ == "__main__":
    for test in [
        a_place_gets_its_table_and_nothing_else_changes,
        a_busy_machine_is_said,
        engines_that_compute_something_else_have_no_figures,
        the_short_table_is_of_one_thread,
        networks_stand_beside_the_two_fastest_in_f32,
        callers_have_rates,
        without_a_record_a_place_keeps_its_table,
        an_unknown_view_is_an_error,
    ]:
        test()
        print(f"{test.__name__}: ok")
