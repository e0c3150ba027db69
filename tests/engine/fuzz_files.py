"""Small whole files and folders of every kind that Opsin reads, for `test_fuzz.py`."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from opsin.engine.data.tiff import write_pyramid
from opsin.engine.files import write_json
from opsin.engine.labels.classes import DEFAULT_CLASSES
from opsin.engine.labels.exchange import write_annotations
from opsin.engine.labels.formats import FORMATS, Options, export
from opsin.engine.labels.frame import Frame
from opsin.engine.labels.marks import Mark
from opsin.engine.labels.regions import connected, grown
from opsin.engine.labels.shapes import Outline
from opsin.engine.labels.store import LabelStore
from opsin.engine.tiles import TilePyramid
from opsin.engine.workspace import Workspace

from . import made_formats
from .fuzz_damage import BOMB
from .test_slides_zarr import make_zarr

WIDTH, HEIGHT = 256, 192
RECIPES = Path(made_formats.__file__).parents[2] / "resources" / "recipes"


@dataclass(frozen=True)
class Source:
    """One file to damage: `opened` (as `kind`) is what is read, `part` what is damaged, both as they stand in `folder`."""

    kind: str
    folder: Path
    opened: str
    part: str

    @property
    def title(self) -> str:
        inside = "" if self.part == self.opened else f" ({self.part})"
        return f"{self.kind} {self.folder.name}/{self.opened}{inside}"


def whole_files(root: Path) -> list[Source]:
    """Write one small file, or folder, of each kind, each into a folder of its own in `root`."""
    found: list[Source] = []

    def place(kind: str, name: str, make: Callable[[Path], object], *parts: str, opened: str = "") -> None:
        folder = root / f"{len({s.folder for s in found}):02d}"
        folder.mkdir(parents=True)
        make(folder / name)
        for part in parts or (name,):
            found.append(Source(kind, folder, opened or name, part))

    _slides(place)
    _labels(place)
    _folders(place)
    _weights(place)
    return found


def _pixels() -> np.ndarray:
    small = np.random.default_rng(5).integers(90, 250, (12, 16, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((WIDTH, HEIGHT)))


def _slides(place: Callable[..., None]) -> None:
    pixels = _pixels()
    planes = (np.moveaxis(pixels, 2, 0)[:2].astype(np.uint16) * 17).copy()

    def rows(y: int, height: int) -> np.ndarray:
        return pixels[y : y + height]

    def pyramid(path: Path, **more: object) -> None:
        write_pyramid(path, rows, WIDTH, HEIGHT, mpp=0.5, tile=64, **more)

    place("slide", "a.svs", lambda p: pyramid(p, magnification=20, factors=(1, 4), style="aperio"))
    place("slide", "b.tif", lambda p: pyramid(p, factors=(1, 2), compression="deflate", style="generic"))
    for name in ("c.png", "d.jpg", "e.bmp", "f.webp"):
        place("slide", name, Image.fromarray(pixels).save)
    place("slide", "strips.tif", lambda p: Image.fromarray(pixels).save(p, compression="tiff_lzw"))
    place("slide", "g.ndpi", lambda p: made_formats.make_ndpi(p, pixels))
    place("slide", "h.scn", lambda p: made_formats.make_scn(p, pixels, (0, 0), (WIDTH, HEIGHT)))
    place("slide", "i.bif", lambda p: made_formats.make_bif(p, pixels))
    mirax = [f"m/{name}" for name in ("Slidedat.ini", "Index.dat", "Data0000.dat")]
    place("slide", "m.mrxs", lambda p: made_formats.make_mrxs(p, pixels[:128]), *mirax)
    jpegs = ["v-ImageFile.jpg", "v-ImageFile10.jpg", "v-MapFile.jpg"]
    place("slide", "v.vms", lambda p: made_formats.make_vms(p, pixels), "v.vms", *jpegs)
    place("slide", "u.vmu", lambda p: made_formats.make_vmu(p, pixels), "u.vmu", "u-ImageFile.ngr", "u-MapFile.ngr")
    instances = [f"d/instance{number}.dcm" for number in range(3)]
    place("slide", "d", lambda p: made_formats.make_dicom(p, pixels), *instances, opened="d/instance2.dcm")
    place("slide", "d", lambda p: made_formats.make_dicom(p, pixels), instances[1])
    facts = {"axes": "CYX", "Channel": {"Name": ["DAPI", "FITC"], "Color": [0x0000FFFF, 0x00FF00FF]}}
    channels = {"tile": (64, 64), "photometric": "minisblack"}
    place("slide", "c.ome.tif", lambda p: tifffile.imwrite(p, planes, metadata=facts, ome=True, **channels))
    place("slide", "p.tif", lambda p: tifffile.imwrite(p, planes, planarconfig="separate", metadata=None, **channels))
    place("slide", "j.tif", lambda p: tifffile.imwrite(p, planes, imagej=True, metadata={"axes": "CYX"}))
    old = ["z.ome.zarr/.zattrs", "z.ome.zarr/0/.zarray", "z.ome.zarr/0/0.0.0", "z.ome.zarr/2/.zarray"]
    place("slide", "z.ome.zarr", lambda p: make_zarr(p, planes), *old)
    new = ["z.ome.zarr/zarr.json", "z.ome.zarr/0/zarr.json", "z.ome.zarr/0/c/0/0/0", "z.ome.zarr/1/zarr.json"]
    place("slide", "z.ome.zarr", lambda p: make_zarr(p, planes, version="0.5", shards=True), *new)


def _outlines() -> list[Outline]:
    ring = [np.array([[10, 10], [90, 12], [80, 70], [20, 90]], float), np.array([[30, 30], [40, 30], [40, 40]], float)]
    return [
        Outline("one", ring, "Tumor"),
        Outline("two", [ring[0] + 90], "Normal"),
        Outline("three", [ring[1]], "Tumor"),
    ]


def paint(path: Path) -> None:
    """A label file with strokes, polygons, pixels, marks, a step undone, and one more that nobody redid."""
    with LabelStore.create(path, WIDTH, HEIGHT) as store:
        for outline in _outlines():
            store.polygon(outline.rings, 1 if outline.class_name == "Tumor" else 2)
        store.stroke(np.array([[20.0, 150.0], [90.0, 160.0]]), np.array([4.0, 9.0]), 3)
        store.flush()
        region = connected(store, 50, 60)
        store.pixels([(region, 2)], text="Fill", only={1, 0})
        store.pixels([(grown(region, 5, WIDTH, HEIGHT), 1)], text="Grow")
        roi = ((5.0, 5.0), (200.0, 5.0), (200.0, 180.0), (5.0, 180.0))
        kept = store.add_marks(
            [Mark("marker", ((50.5, 60.25),), note="mitosis?", label=1), Mark("roi", roi, (roi[:3],))]
        )
        store.add_marks([Mark("ruler", roi[:2]), Mark("area", roi[:3])])
        store.remove_marks([kept[0].id])
        store.undo()
        store.undo()
        store.redo()
        store.flush()


def _labels(place: Callable[..., None]) -> None:
    for name in ("a.xml", "b.geojson"):
        place("annotations", name, lambda p: write_annotations(p, _outlines()))
    parts = {
        "ome-zarr": ("zarr.json", "0/zarr.json", "0/c/0/0"),
        "mask-tiff": ("", ".classes.json"),
        "mask-png": ("", ".classes.json"),
    }
    for form in FORMATS:
        for runs in (False, True) if form.name == "coco" else (False,):
            name = f"x{form.ending}"

            def make(path: Path, form=form, runs=runs) -> None:
                beside = path.parent.with_name(f"{path.parent.name}.labels")
                paint(beside)
                with LabelStore.open(beside, readonly=True) as store:
                    export(store, DEFAULT_CLASSES, path, form, Frame(WIDTH, HEIGHT, 0.5), Options(runs=runs))

            inside = [f"{name}/{part}" for part in parts["ome-zarr"]] if form.name == "ome-zarr" else [name]
            if form.name.startswith("mask"):
                inside.append(f"{Path(name).stem}.classes.json")
            place("annotations", name, make, *inside)
    place("labels", "a.labels", paint)
    place("edits", "a.labels", paint)
    place("heat", "a.heat", _heat)
    table = "slide,label,split,patient\na.svs,positive,train,P1\nb.tif,negative,val,P2\n"
    place("table", "a.csv", lambda p: p.write_text(table, encoding="utf-8"))


def _heat(path: Path) -> None:
    with TilePyramid.create(path, WIDTH, HEIGHT, base=1, reduce="mean", meta={"kind": "heat"}) as heat:
        with heat.transaction():
            heat.write(0, 0, np.pad(_pixels()[..., 0], ((0, 320), (0, 256))))


def _folders(place: Callable[..., None]) -> None:
    place("workspace", "space", _workspace, "space/opsin.sqlite")
    place("run", "run", _run, "run/run.json", "run/events.jsonl", "run/metrics.jsonl", "run/items/a.json")
    recipe = (RECIPES / "hybrid_wsi.tiny.yaml").read_text(encoding="utf-8")
    place("recipe", "hybrid_wsi.yaml", lambda p: p.write_text(recipe, encoding="utf-8"))
    keys = {"key_preset": "qupath", "keys": {"edit.undo": ["Ctrl+Z"]}}
    settings = {"theme": "dark", "text_size": 125, "docks": [200, 300], "reviewer": "A. B.", **keys}
    place("settings", "settings.json", lambda p: write_json(p, settings))
    place("settings", "recent.json", lambda p: write_json(p, [{"folder": "/a/b", "opened": 1.5}]))


def _workspace(folder: Path) -> None:
    for name, split in (("a", "train"), ("b", None)):
        Image.fromarray(_pixels()).save(folder.with_name(f"{name}.png"))
        with Workspace.open_or_create(folder) as workspace:
            (item,) = workspace.add([folder.with_name(f"{name}.png")])
            workspace.labels(item).stroke(np.array([[20.0, 20.0]]), 5, 1)
            workspace.edit({item.id: {"label": "positive", "split": split, "patient": "P1"}})
            workspace.edit({item.id: {"review": "reviewed"}})
            workspace.undo_edit()
            workspace.set_classes(list(DEFAULT_CLASSES))
            workspace.set_score(item.id, "run1", {"score": 0.75, "source": "mean"})
            workspace.set_setting("last_item", item.id)


def _run(folder: Path) -> None:
    (folder / "items").mkdir(parents=True)
    record = {
        "method": "hybrid_wsi", "verb": "train", "state": "running", "created": 1.5, "updated": 2.5, "pid": 4194303,
        "process_started": 1.0, "device": "cpu", "data": "/a", "preset": "tiny", "recipe": {"seed": 1, "epochs": 2},
        "metrics": {"auc": 0.75}, "inputs": {"slides": 3}, "command": "opsin train",
    }  # fmt: skip
    write_json(folder / "run.json", record)
    events = [
        {"event": "state", "state": "running"},
        {"event": "plan", "steps": ["round 1: E-step", "round 1: M-step"]},
        {"event": "phase", "name": "round 1: E-step"},
        {"event": "progress", "done": 1, "total": 4, "what": "slides"},
        {"event": "metrics", "step": 1, "values": {"loss": 0.5, "auc": 0.75}},
        {"event": "message", "text": "hello", "level": "warning"},
        {"event": "preview", "name": "map", "path": "a.npz", "info": {"item": "a"}},
        {"event": "region", "name": "map", "path": "a.npz", "rect": [0, 0, 9, 9]},
        {"event": "item", "item": "a", "state": "failed", "done": 1, "error": "It is damaged."},
        {"event": "checkpoint", "path": "a.safetensors", "step": 3},
        {"event": "heartbeat", "memory": 12.5},
        {"event": "done", "value": {"auc": 0.5}},
        {"event": "state", "state": "done"},
    ]
    lines = "".join(json.dumps({"time": 10.0 + n, **event}) + "\n" for n, event in enumerate(events))
    (folder / "events.jsonl").write_text(lines, encoding="utf-8")
    (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.25}\n', encoding="utf-8")
    write_json(folder / "items" / "a.json", {"state": "done", "input": "a.svs", "key": "k", "files": ["a.csv"]})


def _weights(place: Callable[..., None]) -> None:
    import torch

    from opsin.engine.checkpoints import Checkpoint, save_state

    tensors = {"a.weight": torch.arange(12.0).reshape(3, 4), "a.bias": torch.zeros(3)}
    header = {"recipe": {"seed": 1}, "classes": ["Tumor"], "mpp": 0.5, "step": 7}
    place("weights", "w.safetensors", lambda p: Checkpoint("hybrid_wsi", tensors, header).save(p))
    place("state", "s.safetensors", lambda p: save_state(p, {"step": 3, "model": tensors, "list": [1, {"a": 2.5}]}))
    place("published", "w.pth", lambda p: torch.save({"state_dict": tensors, "epoch": 3}, p))


def bombs(folder: Path) -> list[Source]:
    """Files whose XML unfolds to gigabytes wherever a reader unfolds it: in slides, where it stands in a TIFF tag."""
    folder.mkdir()
    pixels = _pixels()
    ome = (
        '<?xml version="1.0"?>'
        + BOMB
        + '<OME><Image><Pixels SizeX="256" PhysicalSizeX="&j;">&j;</Pixels></Image></OME>'
    )
    tifffile.imwrite(folder / "a.ome.tif", pixels, tile=(64, 64), photometric="rgb", metadata=None, description=ome)
    made_formats.make_scn(folder / "whole.scn", pixels, (0, 0), (WIDTH, HEIGHT))
    with tifffile.TiffFile(folder / "whole.scn") as tiff:
        scn = tiff.pages[0].description.replace("?>", f"?>{BOMB}").replace("<barcode>", "<barcode>&j;")
    (folder / "whole.scn").unlink()
    tifffile.imwrite(
        folder / "b.scn", pixels, tile=(64, 64), photometric="rgb", metadata=None, description=scn, bigtiff=True
    )
    first = ('<?xml version="1.0"?>' + BOMB + '<Metadata><iScan Magnification="40">&j;</iScan></Metadata>').encode()
    tags = [(700, 1, len(first), first, True)]
    tifffile.imwrite(folder / "c.bif", pixels, photometric="rgb", metadata=None, extratags=tags, bigtiff=True)
    asap = re.sub(r'Name="[^"]*"', 'Name="&j;"', f'<?xml version="1.0"?>{BOMB}<ASAP_Annotations Name=""/>')
    (folder / "d.xml").write_text(asap, encoding="utf-8")
    kinds = {"a.ome.tif": "slide", "b.scn": "slide", "c.bif": "slide", "d.xml": "annotations"}
    return [Source(kind, folder, name, name) for name, kind in kinds.items()]
