"""Opens the window: `opsin [FILE…]`. The first lines of the process matter, see `prepare`."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qtpy.QtWidgets import QApplication

    from .window import MainWindow


def prepare() -> None:
    """What must happen before anything of Qt is imported.

    Qt's binding is fixed (another Qt beside ours would be chosen otherwise), and triton's library is loaded: software
    OpenGL and triton bring two versions of LLVM, and whichever comes second crashes unless triton was first.
    """
    os.environ["QT_API"] = "pyside6"
    with contextlib.suppress(ImportError, ValueError, OSError):
        found = importlib.util.find_spec("triton")
        if found is not None and found.origin:
            library = Path(found.origin).parent / "_C" / "libtriton.so"
            if library.exists():
                ctypes.CDLL(str(library))


def make_application() -> QApplication:
    """Return the QApplication with name, icon and theme; the one that exists when there is one."""
    prepare()
    from qtpy.QtCore import QCoreApplication, QThreadPool
    from qtpy.QtWidgets import QApplication

    from .. import __version__
    from ..widgets import theme
    from .settings import AppSettings

    QCoreApplication.setApplicationName("Opsin")
    QCoreApplication.setOrganizationName("Opsin")
    QCoreApplication.setApplicationVersion(__version__)
    application = QApplication.instance()
    if not isinstance(application, QApplication):
        application = QApplication(sys.argv[:1])
    application.setWindowIcon(theme.icon("opsin"))
    application.setDesktopFileName("opsin")
    # opening a slide must not wait for thumbnails on a machine with two cores
    pool = QThreadPool.globalInstance()
    pool.setMaxThreadCount(max(4, pool.maxThreadCount()))
    settings = AppSettings.load()
    theme.apply_theme(application, settings.theme, settings.text_size)
    return application


def make_window(files: list[str]) -> MainWindow:
    """Return the window, not yet shown; `files` are opened as if they had been dropped on it."""
    from .messages import Messages, install, open_log
    from .settings import config_folder
    from .window import MainWindow

    open_log(config_folder())
    messages = Messages()
    window = MainWindow(messages)
    messages.setParent(window)
    install(messages)
    if files:
        window.open_paths([Path(file) for file in files])
    return window


def run_window(files: list[str]) -> int:
    """Open the window with these files and return the exit status when it is closed."""
    application = make_application()
    window = make_window(files)
    window.show()
    status = int(application.exec())
    sys.excepthook = sys.__excepthook__
    return status
