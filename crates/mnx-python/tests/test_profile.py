import json
import xml.etree.ElementTree

import mobilenext
import numpy
import pytest


def test_a_profile_adds_up(model):
    found = mobilenext.profile(model, batch=2, threads=1, iterations=30)
    assert (found["shape"], found["threads"], found["iterations"]) == ([2, 3, 32, 32], 1, 30)
    assert len(found["whole_us"]) == 30 and found["median_ms"] > 0
    assert sum(row["macs"] for row in found["blocks"]) == model.macs == sum(row["macs"] for row in found["steps"])
    assert 0.8 < sum(row["share"] for row in found["blocks"]) < 1.2
    assert {row["bound"] for row in found["blocks"]} <= {"compute", "memory"}
    assert all(row["us"] >= 0 and row["least_us"] >= 0 and row["kernel"] for row in found["steps"])
    # It is a dict like others.
    assert json.loads(json.dumps(found))["blocks"] == found["blocks"]


def test_a_profile_shows_itself(model):
    found = mobilenext.profile(model, threads=1, iterations=5)
    assert xml.etree.ElementTree.fromstring(found.svg()).tag.endswith("svg")
    html = found._repr_html_()
    assert "<svg" in html and "<table>" in html and "features.3" in html
    assert "features.3" in str(found)
    without = mobilenext.profile(model, threads=1, iterations=5, peaks=False)
    assert "bound" not in without["blocks"][0] and "<svg" in without.svg()


def test_what_can_be_profiled(tiny):
    assert mobilenext.profile(tiny, iterations=2, size=(9, 12), peaks=False)["shape"] == [1, 3, 9, 12]
    assert mobilenext.profile(iterations=2, peaks=False)["classes"] == 10
    session = mobilenext.Session(tiny, 1)
    assert mobilenext.profile(session, iterations=2, size=8, peaks=False)["shape"] == [1, 3, 8, 8]
    detector = mobilenext.profile(mobilenext.Model.embedded("bccd"), iterations=2)
    assert detector["arithmetic"] == "int8" and "<svg" in detector.svg()
    assert mobilenext.profile(tiny, iterations=2, size=numpy.array([9, 12]), peaks=False)["shape"] == [1, 3, 9, 12]
    sizes = [{"size": size} for size in (0, -1, (8, 0), "8", 8.0, (8,), (8, 8, 8), (8, None))]
    for wrong in ({"batch": 0}, {"iterations": 0}, {"batch": "2"}, {"threads": 0}, *sizes):
        with pytest.raises(mobilenext.InvalidInputError):
            mobilenext.profile(tiny, **wrong)
    with pytest.raises(mobilenext.InvalidInputError, match="threads"):
        mobilenext.profile(session, threads=1)
