"""The readers give napari layers whose pixels are those of the slide and of the label store; the manifest names them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

import opsin
from opsin.engine.labels.store import LabelStore
from opsin.widgets import napari_plugin


def test_slide_layer_has_the_slides_pixels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    reader = napari_plugin.slide_reader(str(path))
    data, settings, kind = reader(str(path))[0]
    assert kind == "image" and settings["rgb"] and settings["multiscale"]
    level = data[0]
    assert level.shape == (60, 90, 3)
    for key in (
        np.s_[:], np.s_[10:50:3, 5:80:2], np.s_[7], np.s_[7, 8], np.s_[-1, 3:9], np.s_[..., 0], np.s_[20:, ..., 1], np.s_[5:5],
    ):  # fmt: skip
        assert np.array_equal(level[key], pixels[key]), key
    assert np.array_equal(np.asarray(level), pixels)


def test_label_layer_has_the_stores_pixels(tmp_path):
    path = tmp_path / "a.labels"
    with LabelStore.create(path, 1300, 700) as store:
        store.stroke(np.array([[600.0, 300.0]]), 100, 3)
        store.flush()
        expected = store.region(0, 0, 0, 1300, 700)
    data, _, kind = napari_plugin.label_reader(str(path))(str(path))[0]
    assert kind == "labels"
    assert np.array_equal(np.asarray(data[0]), expected)
    assert data[1].shape == (350, 650)
    assert data[0][300, 600] == 3
    data[0].store.close()


def test_readers_leave_other_files_alone():
    assert napari_plugin.slide_reader("a.txt") is None
    assert napari_plugin.label_reader("a.svs") is None
    assert napari_plugin.slide_reader([]) is None


def test_manifest_is_valid_and_its_commands_exist():
    import npe2

    manifest = npe2.PluginManifest.from_file(Path(opsin.__file__).parent / "napari.yaml")
    assert manifest.contributions.readers
    for command in manifest.contributions.commands:
        module, _, name = str(command.python_name).partition(":")
        assert module == "opsin.widgets.napari_plugin"
        assert callable(getattr(napari_plugin, name))
