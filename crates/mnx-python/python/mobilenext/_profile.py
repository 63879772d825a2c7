"""Where the time of an inference goes."""

from html import escape
from operator import index
from statistics import median
from typing import Any, Dict, List, Optional, Tuple, Union

import numpy

from mobilenext._errors import InvalidInputError, InvalidTypeError
from mobilenext._native import Model, Session, draw_blocks, measure_peaks


class Profile(Dict[str, Any]):
    """A dict of what was measured; notebooks show it as a picture and a table.

    - ``family``, ``width``, ``classes``, ``arithmetic``, ``shape`` of the input, ``threads``, ``isa``, ``iterations``.
    - ``median_ms``: median of whole inferences, ``whole_us``: each of them.
    - ``gathering_us``: how long the calling thread waited for pictures that other threads computed whole.
    - ``blocks`` and ``steps``: lists of dicts with ``name``, ``shape`` of the output, ``macs`` of one picture, ``bytes`` that a batch
      needs moved at least, ``us``, ``share`` of the time (0 to 1) and, where peaks were measured, ``least_us`` by the roofline
      model and ``bound`` (``"compute"`` or ``"memory"``). Steps have their ``block``, ``kernel`` and ``arithmetic`` beside.

    Times of blocks and steps are means over the middle fifth of the inferences, so that they add up.
    """

    def svg(self) -> str:
        """The blocks as bars, each beside the least time that the machine could do it in; an SVG document."""
        bars = [(row["name"], row["us"], row.get("least_us", 0.0), row.get("bound") == "compute") for row in self["blocks"]]
        shape = " x ".join(map(str, self["shape"]))
        title = f"{self['family']} {self['width']}, {shape}: {self['median_ms']:.2f} ms"
        threads = f"{self['threads']} thread" + ("s" if self["threads"] != 1 else "")
        return draw_blocks(title, f"{self['isa']} kernels, {self['arithmetic']}, {threads}", bars)

    def _repr_html_(self) -> str:
        cells = [
            (row["name"], f"{row['us']:.1f}", f"{100 * row['share']:.1f}", f"{row['macs'] / 1e6:.2f}", row["shape"])
            for row in self["blocks"]
        ]
        head = "<tr><th>block</th><th>µs</th><th>% of time</th><th>M multiply-adds</th><th>output</th></tr>"
        body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in cells)
        return f"<div>{self.svg()}<table>{head}{body}</table></div>"

    def __str__(self) -> str:
        lines = [f"{self['family']} {self['width']}: {self['median_ms']:.3f} ms, {self['threads']} threads, {self['isa']}"]
        lines += [f"  {row['name']:<24} {row['us']:>9.1f} µs  {100 * row['share']:>5.1f} %" for row in self["blocks"]]
        return "\n".join(lines)


def profile(
    model: Any = None,
    *,
    batch: int = 1,
    size: Optional[Union[int, Tuple[int, int]]] = None,
    threads: Optional[int] = None,
    iterations: int = 100,
    peaks: bool = True,
) -> Profile:
    """Measures where the time of an inference goes, block by block.

    ``model`` is a Model, a Session, the path of a weight file, or ``None`` for the network inside the wheel. ``batch`` is the
    number of pictures, ``size`` their side or (height, width); ``None`` is the model's resolution. ``peaks`` also measures what the
    machine could do at best, in 0.2 s.
    """
    batch, iterations = _count("batch", batch), _count("iterations", iterations)
    if isinstance(model, Session):
        session = model
        if threads is not None:
            raise InvalidInputError("threads: expected None with a Session, which has its own")
    else:
        session = Session(Model.embedded() if model is None else model, threads)
    spec = session.model.spec
    height, width = _sides(size if size is not None else spec["resolution"])
    # Not zeros, whose products some machines are quicker at.
    shape = (batch, spec["channels"], height, width)
    taken = session._profile(numpy.random.default_rng(0).standard_normal(shape, numpy.float32), iterations)
    return Profile(_rows(taken, spec, shape, iterations, session, measure_peaks() if peaks else None))


def _count(name: str, value: Any) -> int:
    try:
        count = index(value)
    except TypeError:
        raise InvalidTypeError(f"{name}: expected a whole number, found {type(value).__name__}") from None
    if count < 1:
        raise InvalidInputError(f"{name}: expected at least 1, found {count}")
    return count


def _sides(size: Any) -> Tuple[int, int]:
    """Height and width."""
    if not numpy.iterable(size) or isinstance(size, str):
        return (_count("size", size),) * 2
    sides = [_count("size", side) for side in size]
    if len(sides) != 2:
        raise InvalidInputError(f"size: expected a side or (height, width), found {len(sides)} numbers")
    return sides[0], sides[1]


def _rows(
    taken: Dict[str, Any],
    spec: Dict[str, Any],
    shape: Tuple[int, int, int, int],
    iterations: int,
    session: Session,
    peaks: Optional[Tuple[float, float, List[Tuple[int, float]]]],
) -> Dict[str, Any]:
    whole = taken["whole"]
    counted = _middle_fifth(whole)
    mean = sum(whole[i] for i in counted) / len(counted)
    steps = [_row(step, counted, mean, shape[0], taken["threads"], peaks) for step in taken["steps"]]
    return {
        "family": spec["family"],
        "width": spec["width"],
        "classes": spec["classes"],
        "arithmetic": session.model.arithmetic,
        "shape": list(shape),
        "threads": taken["threads"],
        "isa": taken["isa"],
        "iterations": iterations,
        "median_ms": median(whole) / 1e3,
        "whole_us": whole,
        "gathering_us": sum(taken["gathering"][i] for i in counted) / len(counted),
        "blocks": _blocks(steps),
        "steps": steps,
    }


def _middle_fifth(whole: List[float]) -> List[int]:
    """The inferences that are left when the shortest two fifths and the longest two fifths are not counted."""
    order = sorted(range(len(whole)), key=whole.__getitem__)
    cut = len(order) * 2 // 5
    return order[cut : len(order) - cut]


def _row(
    step: Dict[str, Any],
    counted: List[int],
    whole: float,
    batch: int,
    threads: int,
    peaks: Optional[Tuple[float, float, List[Tuple[int, float]]]],
) -> Dict[str, Any]:
    us = sum(step["times"][i] for i in counted) / len(counted)
    row = {key: step[key] for key in ("name", "block", "kernel", "arithmetic", "shape", "macs", "bytes")}
    row.update(us=us, share=us / whole)
    if peaks is not None:
        fma, dot, copies = peaks
        rate = next((rate for size, rate in copies if size >= step["bytes"]), copies[-1][1])
        # 10⁹ a second are 10³ a microsecond.
        compute = step["macs"] * batch / (1e3 * threads * (dot if step["arithmetic"] == "int8" else fma))
        memory = step["bytes"] / (1e3 * rate) if rate else 0.0
        row.update(least_us=max(compute, memory), bound="compute" if compute >= memory else "memory")
    return row


def _blocks(steps: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """Neighbouring steps of one block as one row."""
    blocks: List[Dict[str, Any]] = []
    limits: List[Dict[str, float]] = []
    for step in steps:
        if not blocks or blocks[-1]["name"] != step["block"]:
            blocks.append({"name": step["block"], "shape": step["shape"], "macs": 0, "bytes": 0, "us": 0.0, "share": 0.0})
            limits.append({})
        row, of_limit = blocks[-1], limits[-1]
        row["shape"] = step["shape"]
        for key in ("macs", "bytes", "us", "share"):
            row[key] += step[key]
        if "bound" in step:
            of_limit[step["bound"]] = of_limit.get(step["bound"], 0.0) + step["least_us"]
            row["least_us"] = sum(of_limit.values())
            row["bound"] = max(of_limit, key=lambda bound: of_limit[bound])
    return blocks
