"""Every vendor format that Opsin names, on files made from the format's description; what makes one slide together."""

import shutil

import numpy as np
import pytest

from opsin.engine.data.sets import holds_slides, slide_files, slides_below
from opsin.engine.data.slides import file_fingerprint, open_slide
from opsin.engine.errors import SlideError

from .made_formats import halved, make_bif, make_dicom, make_mrxs, make_ndpi, make_scn, make_vms, make_vmu
from .slide_pixels import one_sentence, smooth

LOSSY = 3.0  # mean difference after JPEG


def check(slide, pixels: np.ndarray, corner: tuple[int, int] = (0, 0), tolerance: float = 0.0) -> None:
    """Level 0 shows `pixels` at `corner`, level 1 their halves, nothing shows the red of label or macro."""
    height, width = pixels.shape[:2]
    x, y = corner
    difference = slide.read(0, x, y, width, height).astype(int) - pixels
    assert np.abs(difference).mean() <= tolerance
    coarse = slide.read(1, x // 2, y // 2, width // 2, height // 2).astype(int) - halved(pixels)
    assert np.abs(coarse).mean() <= max(tolerance, 0.02)
    part = slide.read_scaled(x + 10, y + 20, 40, 30, 2.0).astype(int) - halved(pixels)[10:40, 5:45]
    assert np.abs(part).mean() <= max(tolerance, 0.02)
    assert not (slide.thumbnail(64)[..., 1] < 5).all()
    assert slide.reader == "OpenSlide"


def test_leica_scn(tmp_path):
    pixels = smooth(256, 192)
    make_scn(tmp_path / "a.scn", pixels, (100, 60), (600, 400))
    with open_slide(tmp_path / "a.scn") as slide:
        assert (slide.vendor, slide.width, slide.height, slide.magnification) == ("leica", 600, 400, 20)
        assert (slide.mpp, slide.mpp_source) == (pytest.approx(0.5), "file (leica)")
        assert slide.bounds == (100, 60, 256, 192)
        check(slide, pixels, (100, 60))
        assert (slide.read(0, 0, 0, 100, 60) == 255).all(), "white where nothing was scanned"


def test_ventana_bif(tmp_path):
    pixels = smooth(64 + 3 * 56, 64 + 2 * 56)
    make_bif(tmp_path / "a.bif", pixels)
    with open_slide(tmp_path / "a.bif") as slide:
        assert (slide.vendor, slide.width, slide.height, slide.magnification) == ("ventana", 232, 176, 40)
        assert slide.mpp == 0.25 and slide.bounds == (0, 0, 232, 176)
        check(slide, pixels)


def test_hamamatsu_ndpi(tmp_path):
    pixels = smooth(256, 192)
    make_ndpi(tmp_path / "a.ndpi", pixels)
    with open_slide(tmp_path / "a.ndpi") as slide:
        assert (slide.vendor, slide.width, slide.height, slide.magnification) == ("hamamatsu", 256, 192, 20)
        assert slide.mpp == pytest.approx(0.25)
        check(slide, pixels, tolerance=LOSSY)


def test_hamamatsu_vms_and_its_pictures_are_one_slide(tmp_path):
    pixels = smooth(512, 192)
    beside = make_vms(tmp_path / "a.vms", pixels)
    assert len(beside) == 4
    assert slide_files([tmp_path]) == [tmp_path / "a.vms"] == slide_files([*beside, tmp_path / "a.vms"])
    with open_slide(tmp_path / "a.vms") as slide:
        assert (slide.vendor, slide.width, slide.height, slide.magnification) == ("hamamatsu", 512, 192, 20)
        assert slide.mpp == pytest.approx(0.5)
        check(slide, pixels, tolerance=LOSSY)
        before = slide.fingerprint()
    beside[0].write_bytes(beside[1].read_bytes())
    assert file_fingerprint(tmp_path / "a.vms") != before


def test_hamamatsu_vmu(tmp_path):
    pixels = smooth(256, 192)
    make_vmu(tmp_path / "a.vmu", pixels)
    with open_slide(tmp_path / "a.vmu") as slide:
        assert (slide.vendor, slide.width, slide.height, slide.mpp) == ("hamamatsu", 256, 192, pytest.approx(0.5))
        check(slide, pixels)


def test_mirax_and_its_folder_are_one_slide(tmp_path):
    pixels = smooth(256, 128)
    make_mrxs(tmp_path / "a.mrxs", pixels, empty_columns=2)
    assert slide_files([tmp_path]) == [tmp_path / "a.mrxs"]
    with open_slide(tmp_path / "a.mrxs") as slide:
        assert (slide.vendor, slide.width, slide.height, slide.magnification) == ("mirax", 384, 128, 20)
        assert (slide.mpp, slide.bounds) == (0.5, (128, 0, 256, 128))
        check(slide, pixels, (128, 0))
    with pytest.raises(SlideError, match=r"choose a\.mrxs") as error:
        open_slide(tmp_path / "a")
    one_sentence(error, "a")


@pytest.mark.parametrize("choice", ["folder", "finest", "coarser"])
def test_dicom_opens_by_its_folder_and_by_any_level(tmp_path, choice):
    pixels = smooth(300, 200)
    files = make_dicom(tmp_path / "slide", pixels)
    path = {"folder": tmp_path / "slide", "finest": files[2], "coarser": files[1]}[choice]
    with open_slide(path) as slide:
        assert (slide.vendor, slide.width, slide.height, slide.magnification) == ("dicom", 300, 200, 20)
        assert slide.mpp == pytest.approx(0.5) and slide.path == path
        assert slide.fingerprint() == file_fingerprint(tmp_path / "slide"), "one slide, whatever it is opened by"
        check(slide, pixels)


def test_a_folder_with_one_dicom_slide_is_one_slide(tmp_path):
    folder = tmp_path / "slide"
    files = make_dicom(folder, smooth(300, 200))
    assert slide_files([folder]) == [folder] == slide_files([tmp_path]), "also from the folder above"
    assert slide_files(files) == [files[2]], "files chosen by hand: the finest level stands for all"
    assert holds_slides(folder) and holds_slides(tmp_path)
    make_dicom(tmp_path / "other", smooth(200, 100), series="9.9")
    assert slide_files([tmp_path]) == [tmp_path / "other", folder] == slides_below(tmp_path)
    for number, path in enumerate(files):
        shutil.copy(path, tmp_path / "other" / f"copy{number}.dcm")
    both = slide_files([tmp_path / "other"])
    assert both == [tmp_path / "other/copy2.dcm", tmp_path / "other/instance2.dcm"]
    with pytest.raises(SlideError, match="holds 2 DICOM slides") as error:
        open_slide(tmp_path / "other")
    one_sentence(error, "other")
    with open_slide(both[0]) as slide:
        assert (slide.width, slide.height) == (300, 200)


def test_a_single_dicom_file_is_itself(data, tmp_path):
    shutil.copy(data / "wsi/slides/sm_image.dcm", tmp_path)
    assert slide_files([tmp_path]) == [tmp_path / "sm_image.dcm"]
    (tmp_path / "report.dcm").write_text("no slide at all")
    assert slide_files([tmp_path]) == [tmp_path / "report.dcm", tmp_path / "sm_image.dcm"], (
        "opening it says what is wrong"
    )


def test_pictures_that_no_slide_names_stay(tmp_path):
    make_vms(tmp_path / "a.vms", smooth(512, 192))
    (tmp_path / "other.jpg").write_bytes((tmp_path / "a-MapFile.jpg").read_bytes())
    assert slide_files([tmp_path]) == [tmp_path / "a.vms", tmp_path / "other.jpg"]
    (tmp_path / "empty").mkdir()
    assert not holds_slides(tmp_path / "empty") and holds_slides(tmp_path)
