"""Files of flow: what is written comes back, unknown pixels stay unknown, bad files are told in one sentence."""

import cv2
import numpy as np
import pytest

from opsin.engine.data.flow_files import FlowError, is_flow_file, read_flow, write_flow


def _flow():
    flow = (np.random.default_rng(0).standard_normal((5, 7, 2)) * 30).astype(np.float32)
    flow[1, 2] = np.nan
    flow[3, 4, 0] = np.inf
    return flow


@pytest.mark.parametrize("suffix", [".flo", ".pfm", ".npy", ".npz", ".png"])
def test_what_is_written_comes_back(tmp_path, suffix):
    flow = _flow()
    expected = flow.copy()
    expected[3, 4] = np.nan
    if suffix == ".png":
        expected = np.round(expected * 64) / 64
    path = tmp_path / f"a{suffix}"
    write_flow(path, flow)
    assert is_flow_file(path)
    found = read_flow(path)
    assert found.dtype == np.float32 and np.array_equal(found, expected, equal_nan=True)
    before = path.read_bytes()
    write_flow(path, found)
    assert suffix == ".npz" or path.read_bytes() == before


def test_kitti_limits_and_channels(tmp_path):
    write_flow(tmp_path / "a.png", np.array([[[-512.0, 511.984375], [1.0, 0.0]]]))
    raw = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)[..., ::-1]
    assert raw.tolist() == [[[0, 65535, 1], [32832, 32768, 1]]]
    with pytest.raises(FlowError, match="reaches 600 px; save it as .flo"):
        write_flow(tmp_path / "b.png", np.full((2, 2, 2), 600.0))
    assert not (tmp_path / "b.png").exists()


def test_the_real_truth_of_middlebury(data, tmp_path):
    path = data / "flow" / "middlebury" / "RubberWhale" / "flow10.flo"
    flow = read_flow(path)
    assert flow.shape == (388, 584, 2)
    known = np.isfinite(flow).all(-1)
    assert 0.9 < known.mean() < 1 and np.abs(flow[known]).max() < 6
    write_flow(tmp_path / "a.pfm", flow)
    assert np.array_equal(read_flow(tmp_path / "a.pfm"), flow, equal_nan=True)


def test_pfm_of_either_byte_order(tmp_path):
    values = np.arange(18, dtype=np.float32).reshape(2, 3, 3)
    for scale, kind in ((1.0, ">f4"), (-1.0, "<f4")):
        path = tmp_path / "a.pfm"
        path.write_bytes(f"PF\n3 2\n{scale}\n".encode() + values[::-1].astype(kind).tobytes())
        assert np.array_equal(read_flow(path), values[..., :2])


def test_planes_first_are_turned(tmp_path):
    flow = _flow()
    np.save(tmp_path / "a.npy", flow.transpose(2, 0, 1)[None])
    assert read_flow(tmp_path / "a.npy").shape == (5, 7, 2)


BAD = {
    "no.flo": (b"PIEX1234", "does not begin with"),
    "short.flo": (np.array([202021.25], "<f4").tobytes() + np.array([9, 9], "<i4").tobytes(), "is cut off"),
    "size.flo": (np.array([202021.25], "<f4").tobytes() + np.array([-1, 9], "<i4").tobytes(), "declares -1 x 9"),
    "grey.pfm": (b"Pf\n1 1\n-1\n\0\0\0\0", "one value for each pixel"),
    "head.pfm": (b"PF\n", "head cannot be read"),
    "no.png": (b"\x89PNG\r\n\x1a\n", "cannot be read as a picture"),
    "no.npy": (b"\x93NUMPY", "cannot be read as an array"),
    "no.npz": (b"PK\x03\x04", "cannot be read as an array"),
    "text.txt": (b"", "is no file of flow"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_told(tmp_path, name):
    content, said = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FlowError, match=said):
        read_flow(tmp_path / name)


def test_arrays_that_are_no_flow(tmp_path):
    for name, array in {"a": np.zeros((4, 4, 3)), "b": np.array(["x"]), "c": np.zeros((0, 4, 2))}.items():
        np.save(tmp_path / f"{name}.npy", array)
        with pytest.raises(FlowError):
            read_flow(tmp_path / f"{name}.npy")
    np.save(tmp_path / "d.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(FlowError, match="cannot be read as an array"):
        read_flow(tmp_path / "d.npy")
    cv2.imwrite(str(tmp_path / "e.png"), np.zeros((4, 4, 3), np.uint8))
    assert not is_flow_file(tmp_path / "e.png")
    with pytest.raises(FlowError, match="three channels of 16 bit"):
        read_flow(tmp_path / "e.png")
