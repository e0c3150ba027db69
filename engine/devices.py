"""Which devices there are and how much memory each has free; found without importing torch."""

from __future__ import annotations

import importlib.util
import platform
from dataclasses import dataclass
from functools import cache

import psutil

from .errors import DeviceError


@dataclass(frozen=True)
class Device:
    """A place to compute. Memory in bytes; for the CPU it is the machine's memory."""

    id: str
    title: str
    free: int
    total: int

    @property
    def summary(self) -> str:
        return f"{self.title}: {self.free / 2**30:.1f} of {self.total / 2**30:.1f} GiB free"


@cache
def _nvml():
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no driver, no card, no library: all mean "no GPU here"
        return None
    return pynvml


def list_devices() -> list[Device]:
    """Return all devices, the preferred one first. Cheap enough to call once a second."""
    devices = []
    nvml = _nvml()
    if nvml is not None:
        for index in range(nvml.nvmlDeviceGetCount()):
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            name = nvml.nvmlDeviceGetName(handle)
            name = name.decode() if isinstance(name, bytes) else name
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            devices.append(Device(f"cuda:{index}", name, memory.free, memory.total))
    memory = psutil.virtual_memory()
    if platform.system() == "Darwin" and platform.machine() == "arm64" and importlib.util.find_spec("torch"):
        devices.append(Device("mps", "Apple GPU", memory.available, memory.total))
    devices.append(Device("cpu", f"CPU ({psutil.cpu_count()} cores)", memory.available, memory.total))
    return devices


def resolve(name: str, place: int | None = None) -> str:
    """Return the id of an existing device for ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Parameters
    ----------
    place : number of this process on its machine when several share a training: each gets a GPU of its own.

    Raises
    ------
    DeviceError : there is no such device; the sentence lists those there are.
    """
    known = [device.id for device in list_devices()]
    if place is not None:
        return _own(name, place, [id for id in known if id.startswith("cuda")])
    if name == "auto":
        return known[0]
    name = "cuda:0" if name == "cuda" else name
    if name not in known:
        raise DeviceError(f"There is no device '{name}' on this machine; there are {', '.join(known)}.")
    return name


def _own(name: str, place: int, gpus: list[str]) -> str:
    if name == "cpu" or (name == "auto" and not gpus):
        return "cpu"
    if name not in ("auto", "cuda"):
        raise DeviceError(f"With --devices each process gets a GPU of its own: leave out --device {name}.")
    if place >= len(gpus):
        raise DeviceError(f"This machine has {len(gpus)} GPUs, fewer than --devices asks for.")
    return gpus[place]
