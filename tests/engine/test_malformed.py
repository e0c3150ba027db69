"""Annotation files that are damaged or made to do harm: one clear sentence each, and the labels stay as they are."""

import json
import zipfile

import numpy as np
import pytest

from opsin.engine.errors import AnnotationError
from opsin.engine.labels.classes import DEFAULT_CLASSES
from opsin.engine.labels.exchange import class_mapping, import_annotations, read_annotations
from opsin.engine.labels.store import LabelStore

SQUARE = [[10, 10], [90, 10], [90, 90], [10, 90], [10, 10]]


def xml(coordinates, group="Tumor"):
    points = "".join(f'<Coordinate Order="{i}" X="{x}" Y="{y}" />' for i, (x, y) in enumerate(coordinates))
    return (
        f'<ASAP_Annotations><Annotations><Annotation Name="a" Type="Polygon" PartOfGroup="{group}" Color="#F4FA58">'
        f"<Coordinates>{points}</Coordinates></Annotation></Annotations></ASAP_Annotations>"
    )


def geojson(*rings):
    return json.dumps({"type": "FeatureCollection", "features": [
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": {}} for ring in rings
    ]})  # fmt: skip


def children(depth):
    text = '{"type": "Feature", "geometry": null, "properties": {"childObjects": ['
    return text * depth + "]}}" * depth


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefghi", "bcdefghij"))
    + "]><ASAP_Annotations><Annotations><Annotation Name='&j;'/></Annotations></ASAP_Annotations>"
)
OUTSIDE = '<?xml version="1.0"?><!DOCTYPE x SYSTEM "file:///etc/hostname"><ASAP_Annotations/>'
REFUSED = {
    "empty": "",
    "blank": " \n\t",
    "binary": "\x00\x01\x02PNG",
    "cut.xml": xml(SQUARE)[:-90],
    "cut in a tag.xml": xml(SQUARE)[:150],
    "another root.xml": "<svg><path d='M0 0'/></svg>",
    "bomb.xml": BOMB,
    "outside.xml": OUTSIDE,
    "words for numbers.xml": xml([(10, 10), ("left", 10), (90, 90)]),
    "no X.xml": xml(SQUARE).replace('X="90"', ""),
    "one in another.xml": "<ASAP_Annotations><Annotation><Annotation/></Annotation></ASAP_Annotations>",
    "strange encoding.xml": '<?xml version="1.0" encoding="klingon"?><ASAP_Annotations/>',
    "cut.geojson": geojson(SQUARE)[:-30],
    "another root.geojson": '{"type": "Topology", "objects": {}}',
    "number.geojson": "[[1, 2], 3]",
    "nothing in it.geojson": '{"type": "FeatureCollection", "features": []}',
    "no features.geojson": '{"type": "FeatureCollection"}',
    "features are a number.geojson": '{"type": "FeatureCollection", "features": 7}',
    "deep.geojson": "[" * 100_000,
    "deep objects.geojson": '{"a":' * 100_000,
    "deep children.geojson": children(5_000),
}
UNUSABLE = {
    "NaN.xml": xml([(10, 10), ("nan", 10), (90, 90)]),
    "infinite.xml": xml([(10, 10), ("1e999", 10), (90, 90)]),
    "one point.xml": xml([(10, 10)]),
    "no point.xml": xml([]),
    "giant.xml": xml([(10, 10), (1e12, 10), (90, 90)]),
    "beyond what is stored.xml": xml([(10, 10), (5e8, 10), (90, 90)]),
    "a line.xml": xml([(10, 10), (50, 50), (90, 90)]),
    "elsewhere.xml": xml([(7e6, 10), (7e6, 900), (8e6, 90)]),
    "NaN.geojson": geojson([[10, 10], [float("nan"), 10], [90, 90]]),
    "text for NaN.geojson": geojson([[10, 10], ["NaN", 10], [90, 90]]),
    "one point.geojson": geojson([[10, 10]]),
    "no point.geojson": geojson([]),
    "giant.geojson": geojson([[10, 10], [1e300, 10], [90, 90]]),
    "huge whole number.geojson": geojson([[10, 10], [10**400, 10], [90, 90]]),
    "null.geojson": geojson([[10, 10], [None, 10], [90, 90]]),
    "no geometry.geojson": '[{"geometry": null}]',
    "another type.geojson": '[{"geometry": {"type": "Circle", "coordinates": [1, 2]}}]',
    "properties are a list.geojson": '[{"geometry": {"type": "Polygon", "coordinates": []}, "properties": [1]}]',
}


def attempt(path):
    """Import into a slide that has labels; the sentence, None when it worked."""
    with LabelStore.create(path.parent / "slide.labels", 100, 100) as store:
        store.polygon([np.array(SQUARE[:4], float) / 2], 2)
        before, areas = store.content_hash(), store.areas()
        try:
            outlines = read_annotations(path)
            import_annotations(store, outlines, class_mapping(outlines, DEFAULT_CLASSES))
        except AnnotationError as error:
            assert store.content_hash() == before and store.areas() == areas and store.undo_text == "Polygon"
            return str(error)
    return None


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path, name):
    path = tmp_path / f"{name}.xml"
    path.write_text(REFUSED[name])
    sentence = attempt(path)
    assert sentence is not None and path.name in sentence, sentence
    assert "\n" not in sentence and len(sentence) < 250 and sentence.endswith("."), sentence


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_file_without_anything_usable_is_one_sentence(tmp_path, name):
    path = tmp_path / name
    path.write_text(UNUSABLE[name])
    sentence = attempt(path)
    assert sentence is not None and "\n" not in sentence and len(sentence) < 250 and sentence[-1] in ".?", sentence


@pytest.mark.parametrize("name", ["NaN.xml", "one point.xml", "giant.xml", "a line.xml", "elsewhere.xml"])
def test_one_bad_outline_does_not_keep_the_good_ones_out(tmp_path, name):
    good = xml(SQUARE[:4]).split("<Annotation ")[1].split("</Annotations>")[0]
    path = tmp_path / "a.xml"
    path.write_text(UNUSABLE[name].replace("</Annotations>", f"<Annotation {good}</Annotations>"))
    outlines = read_annotations(path)
    with LabelStore.create(tmp_path / "slide.labels", 100, 100) as store:
        report = import_annotations(store, outlines, class_mapping(outlines, DEFAULT_CLASSES))
        assert store.areas() == {1: 80 * 80}
    assert len(report.skipped) == 1 and "1 not usable" in report.sentence
    assert "\n" not in report.skipped[0] and report.details == report.skipped


def test_an_outline_far_beyond_the_slide_is_cut_without_trouble(tmp_path):
    path = tmp_path / "a.geojson"
    path.write_text(geojson([[-9e7, -9e7], [9e7, -9e7], [9e7, 9e7], [-9e7, 9e7]]))
    outlines = read_annotations(path)
    with LabelStore.create(tmp_path / "slide.labels", 700, 600) as store:
        report = import_annotations(store, outlines, class_mapping(outlines, DEFAULT_CLASSES))
        assert store.areas() == {1: 700 * 600} and report.cut == 1


def test_damaged_zip_files_are_one_sentence(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.geojson", geojson(*[SQUARE] * 200))
    content = bytearray(path.read_bytes())
    assert len(read_annotations(path)) == 200
    content[60:75] = bytes(15)
    path.write_bytes(content)
    with pytest.raises(AnnotationError, match=r"a\.zip"):
        read_annotations(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(AnnotationError, match=r"a\.zip"):
        read_annotations(path)


def test_names_of_any_length_and_kind_stay_one_line(tmp_path):
    name = "a&#10;b" * 5000
    path = tmp_path / "a.xml"
    path.write_text(xml([(10, 10)]).replace('Name="a"', f'Name="{name}"'))
    (skipped,) = read_annotations(path).skipped
    assert "\n" not in skipped and len(skipped) < 150
