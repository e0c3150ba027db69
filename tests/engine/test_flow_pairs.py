"""Sets of image pairs: every layout is told by itself, real pairs and made ones; what does not fit is said."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image

from opsin.engine.data.flow_files import FlowError, write_flow
from opsin.engine.data.pairs import PairError, open_pairs, read_picture

from .test_flow_geometry import QUATERNIONS, views, write_colmap


def picture(path, size=(48, 64), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*size, 3), np.uint8)).save(path)
    return path


def flow(path, size=(48, 64), value=2.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_flow(path, np.full((*size, 2), value, np.float32))


def kitti(root):
    for name in ("000000_10", "000000_11", "000000_12", "000001_10", "000001_11", "000002_10"):
        picture(root / "image_2" / f"{name}.png")
    for name in ("000000_10", "000001_10"):
        flow(root / "flow_occ" / f"{name}.png")


def sintel(root):
    for number in (1, 2, 3):
        for kind in ("clean", "final"):
            picture(root / "training" / kind / "alley" / f"frame_000{number}.png")
    for number in (1, 2):
        flow(root / "training" / "flow" / "alley" / f"frame_000{number}.flo")


def hpatches(root):
    for scene in ("i_one", "v_two"):
        for number in range(1, 7):
            picture(root / scene / f"{number}.ppm", seed=number)
        for number in range(2, 7):
            (root / scene / f"H_1_{number}").write_text(f"1 0 {number}\n0 1 0\n0 0 1\n")


def megadepth(root):
    for split in ("train", "val"):
        place = root / split / "0001" / "dense0" / "aligned"
        lines = []
        for view, name in zip(views(), ("a.jpg", "b.jpg")):
            picture(place / "images" / name, (480, 640))
            numbers = [640, 480, 500, 480, 319.5, 239.5, *view.rotation.ravel(), *view.translation]
            lines.append(f"{name} " + " ".join(repr(float(x)) for x in numbers))
        (place / "img_cam.txt").write_text("\n".join(lines))
        (place / "pairs.txt").write_text("a.jpg b.jpg\nb.jpg a.jpg\na.jpg a.jpg\na.jpg gone.jpg\n")


def colmap(root):
    write_colmap(root / "sparse", ".bin")
    for name in QUATERNIONS:
        picture(root / "images" / name, (480, 640))


def table(root):
    for name in ("s.png", "t.png"):
        picture(root / "img" / name)
    (root / "test.csv").write_text(
        "scene,source_image,target_image,XA,YA,XB,YB\n/,s.png,t.png,1;2,3;4,5;6,7;8\n/,gone.png,t.png,1,1,1,1\n"
    )


LAYOUTS = {
    "KITTI": (kitti, "", 2, 2), "Sintel": (sintel, "", 4, 4), "HPatches": (hpatches, "", 10, 10),
    "MegaDepth": (megadepth, "", 4, 0), "COLMAP model": (colmap, "", 1, 0), "Correspondences": (table, "test.csv", 1, 0),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_is_told(tmp_path, layout):
    make, name, count, with_flow = LAYOUTS[layout]
    make(tmp_path / "d")
    found = open_pairs(tmp_path / "d" / name)
    assert (found.layout, len(found.pairs), sum(p.has_flow for p in found.pairs)) == (layout, count, with_flow)
    assert len({p.name for p in found.pairs}) == count and layout in found.describe()
    assert found.fingerprint() == open_pairs(tmp_path / "d" / name).fingerprint()
    for pair in found.pairs:
        a, b = pair.pictures()
        if pair.has_flow:
            truth, known = pair.truth(a.shape, b.shape)
            assert truth.shape[:2] == a.shape[:2] and known.any()
        if pair.views:
            assert np.linalg.norm(pair.fundamental(320, 240)) == pytest.approx(1)
    if layout == "MegaDepth":
        assert len(found.training) == len(found.held_out) == 2 and found.training[0].split == "train"
        assert any("gone.jpg" in w for w in found.warnings) and any("same place" in w for w in found.warnings)
    if layout == "KITTI":
        assert "000002_11.png is missing." in found.warnings
    if layout == "Correspondences":
        assert found.pairs[0].points[0].tolist() == [[5, 7], [6, 8]] and found.pairs[0].first.name == "t.png"


def test_the_real_pairs(data):
    found = open_pairs(data / "flow" / "middlebury")
    assert (found.layout, [p.name for p in found.pairs]) == ("Middlebury", ["Grove2", "RubberWhale", "Venus"])
    lighting = open_pairs(data / "flow" / "lighting")
    assert len(lighting.pairs) == 13 and all(p.has_flow for p in lighting.pairs)
    owl = next(p for p in lighting.pairs if p.name.startswith("owl"))
    truth, known = owl.truth(*(p.shape for p in owl.pictures()))
    assert 0.2 < known.mean() < 0.4 and np.isfinite(truth).all()


def test_lists_and_folders(tmp_path):
    for name in ("b.png", "a.png", "c d.png"):
        picture(tmp_path / name)
    flow(tmp_path / "a.flo")
    folder = open_pairs(tmp_path)
    assert [(p.first.name, p.second.name) for p in folder.pairs] == [("a.png", "b.png"), ("b.png", "c d.png")]
    assert folder.pairs[0].flow and not folder.pairs[1].flow
    (tmp_path / "list.txt").write_text('# mine\na.png b.png a.flo\n\nb.png "c d.png"\n')
    assert [p.second.name for p in open_pairs(tmp_path / "list.txt").pairs] == ["b.png", "c d.png"]
    (tmp_path / "list.txt").write_text("a.png gone.png\n")
    with pytest.raises(PairError, match=r"line 1: .*gone.png does not exist"):
        open_pairs(tmp_path / "list.txt")
    (tmp_path / "list.json").write_text(json.dumps([{"name": "x"}]))
    with pytest.raises(PairError, match="is no list of pairs"):
        open_pairs(tmp_path / "list.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(PairError, match="holds no image pairs"):
        open_pairs(tmp_path / "empty")


def test_pictures_of_every_kind_become_rgb(tmp_path):
    shape = (6, 8)
    for name, array in {
        "grey.png": np.full(shape, 7, np.uint8),
        "deep.png": np.full(shape, 4000, np.uint16),
        "alpha.png": np.full((*shape, 4), (9, 8, 7, 0), np.uint8),
        "colour16.png": np.full((*shape, 3), 256 * 9, np.uint16),
    }.items():
        cv2.imwrite(str(tmp_path / name), array)
        found = read_picture(tmp_path / name)
        assert found.shape == (6, 8, 3) and found.dtype == np.uint8, name
    assert read_picture(tmp_path / "alpha.png")[0, 0].tolist() == [7, 8, 9]
    assert read_picture(tmp_path / "deep.png").max() == 255
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff")
    for name, said in (("bad.jpg", "cannot be read"), ("gone.jpg", "does not exist")):
        with pytest.raises(PairError, match=said):
            read_picture(tmp_path / name)


def test_what_does_not_fit_is_told(tmp_path):
    kitti(tmp_path / "k")
    pair = open_pairs(tmp_path / "k").pairs[0]
    with pytest.raises(PairError, match=r"000000_10.png has 64 x 48 pixels, 000000_10.png 60 x 40"):
        pair.truth((40, 60), (40, 60))
    write_flow(tmp_path / "k" / "flow_occ" / "000000_10.png", np.full((48, 64, 2), np.nan))
    with pytest.raises(PairError, match="knows the flow of no pixel"):
        pair.truth((48, 64), (48, 64))
    pair.flow.write_bytes(b"")
    with pytest.raises(FlowError):
        pair.truth((48, 64), (48, 64))
    colmap(tmp_path / "c")
    picture(tmp_path / "c" / "images" / "a.jpg", (240, 320))
    with pytest.raises(PairError, match="a.jpg has 320 x 240 pixels, its pose speaks of 640 x 480"):
        open_pairs(tmp_path / "c").pairs[0].pictures()
    for path in (tmp_path / "c" / "images").iterdir():
        path.unlink()
    with pytest.raises(PairError, match="names pictures that are neither in"):
        open_pairs(tmp_path / "c")
