"""The charts of `make bench`."""

import runpy
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parent.parent
CHART = runpy.run_path(str(ROOT / "bench" / "chart.py"))
SVG = "{http://www.w3.org/2000/svg}"


def test_a_chart_shows_each_point_in_its_place():
    series = [CHART["Series"]("SET <1>", [(1, 100), (10, 1_000), (100, 10_000)])]
    tree = ET.fromstring(CHART["chart"]("title", "keys", [("rate", series), ("p99", series)]))
    lines = tree.findall(f"{SVG}polyline")
    assert len(lines) == 2
    points = [tuple(map(float, point.split(","))) for point in lines[0].get("points").split()]
    (x1, y1), (x2, y2), (x3, y3) = points
    assert (x2 - x1, y1 - y2) == pytest.approx((x3 - x2, y2 - y3))
    assert x1 < x2 < x3
    assert [mark.text for mark in tree.findall(f"{SVG}text") if mark.text in ("1", "10", "100")].count("10") == 2
    assert any(mark.text == "SET <1>" for mark in tree.findall(f"{SVG}text"))


@pytest.mark.parametrize(("number", "text"), [(1, "1"), (300, "300"), (3_000, "3k"), (1e7, "10M")])
def test_axes_have_short_numbers(number, text):
    assert CHART["short"](number) == text


@pytest.mark.parametrize("name", ["connections", "size", "keys"])
def test_the_charts_of_the_manual_are_there(name):
    ET.parse(ROOT / "docs" / f"performance-{name}.svg")
    assert f"performance-{name}.svg" in (ROOT / "docs" / "performance.md").read_text()
