"""Child process of `test_fuzz.py`: opens each file it is told and answers with one JSON line.

A line on standard input is ``kind<TAB>path``. The answer has "state": "read", "refused" (with the sentence) or "crash" (with
the trace), "seconds", and "peak", the most memory that this process has held so far, in MiB. A file that takes this process
along gets no answer.
"""

import json
import resource
import sys
import time
import traceback
from pathlib import Path

from opsin.engine.data.slides import open_slide
from opsin.engine.errors import OpsinError
from opsin.engine.labels.exchange import read_annotations
from opsin.engine.labels.store import LabelStore
from opsin.engine.slide_table import read_slide_table
from opsin.engine.tiles import TilePyramid


def read_slide(path: Path) -> None:
    """Open it as the window does: tiles of every level, a region across the edge, the thumbnail."""
    with open_slide(path) as slide:
        for level in range(len(slide.levels)):
            slide.tile(level, 0, 0)
            slide.read(level, slide.levels[level].width - 20, slide.levels[level].height - 20, 40, 40)
        slide.read_scaled(0, 0, 64, 64, max(1.0, slide.width / 64))
        slide.thumbnail(64)
        slide.fingerprint()


def read_outlines(path: Path) -> None:
    for outline in read_annotations(path):
        outline.bounds


def read_labels(path: Path) -> None:
    with LabelStore.open(path, readonly=True) as store:
        store.areas()
        store.region(0, 0, 0, 64, 64)


def read_heat(path: Path) -> None:
    with TilePyramid.open(path, readonly=True) as pyramid:
        for row, column in pyramid.keys(0)[:4]:
            pyramid.tile(0, row, column)


READERS = {
    "slide": read_slide,
    "annotations": read_outlines,
    "labels": read_labels,
    "heat": read_heat,
    "table": read_slide_table,
}


def main() -> None:
    budget = int(sys.argv[1])
    # address space, generously: what libraries map is not what they use; `peak` is judged by the parent
    resource.setrlimit(resource.RLIMIT_AS, (budget << 20, budget << 20))
    print(json.dumps({"state": "ready", "peak": _peak()}), flush=True)
    for line in sys.stdin:
        kind, _, name = line.rstrip("\n").partition("\t")
        began = time.process_time()  # of the processor: a machine that is busy with other things is no fault of a file
        answer: dict[str, object] = {"state": "read"}
        try:
            READERS[kind](Path(name))
        except OpsinError as error:
            answer = {"state": "refused", "sentence": str(error)}
        except BaseException:
            answer = {"state": "crash", "trace": traceback.format_exc()}
        print(json.dumps({**answer, "seconds": time.process_time() - began, "peak": _peak()}), flush=True)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
