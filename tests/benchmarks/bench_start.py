"""Start page against `napari.Viewer()`: processor seconds until shown"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

FORBIDDEN = ("torch", "napari", "open3d", "dask", "zarr", "scipy", "skimage", "pandas", "pyqtgraph")
OPSIN = """
import sys, time, json
from opsin.gui.application import make_application, make_window
application = make_application()
window = make_window([])
window.show()
application.processEvents()
found = [name for name in %r if name in sys.modules]
print('@@' + json.dumps([time.process_time(), found]))
import os; os._exit(0)
""" % (FORBIDDEN,)
NAPARI = """
import time, json, os
import napari
from qtpy.QtWidgets import QApplication
viewer = napari.Viewer(show=True)
QApplication.instance().processEvents()
print('@@' + json.dumps([time.process_time(), []]))
os._exit(0)
"""


def _measure(code: str, runs: int) -> tuple[float, list[str]]:
    """Return the smallest processor time of several fresh processes and what was imported in the last."""
    best, found = float("inf"), []
    for _ in range(runs):
        environment = {**os.environ, "QT_API": "pyside6"}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
        seconds, found = json.loads(done.stdout.split("@@")[1])
        best = min(best, seconds)
    return best, found


def rows(quick: bool) -> list[dict[str, Any]]:
    """Measure both in turn."""
    runs = 2 if quick else 5
    own, found = _measure(OPSIN, runs)
    peer, _ = _measure(NAPARI, runs)
    return [
        {
            "name": "start page / `napari.Viewer()`, processor seconds",
            "value": own / peer,
            "unit": "x",
            "bar": "<= 0.4x",
            "ok": own / peer <= 0.4,
            "note": f"{own:.2f} s against {peer:.2f} s, best of {runs}",
        },
        {
            "name": "heavy libraries imported by the start page",
            "value": len(found),
            "unit": "",
            "bar": "0",
            "ok": not found,
            "note": ", ".join(found) or "none of " + ", ".join(FORBIDDEN),
        },
    ]
