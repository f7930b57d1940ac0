"""The machine that something was measured on, without what would name it."""

import os
import platform
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from dsformer_core.cores import usable_cores

_LIBRARIES = (
    "torch",
    "torchvision",
    "numpy",
    "faiss-cpu",
    "faiss-gpu-cu12",
    "onnxruntime",
    "onnxruntime-gpu",
    "tensorrt",
)


def describe_machine() -> dict[str, Any]:
    """Processor, cores, memory, GPU, system and versions of what computes."""
    import torch

    described: dict[str, Any] = {
        "date": date.today().isoformat(),
        "processor": _processor(),
        "cores": usable_cores(),
        "memory_gib": _memory_gib(),
        "board": _board(),
        "gpu": None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": {name: found for name in _LIBRARIES if (found := _version(name))},
    }
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        described["gpu"] = f"{properties.name}, {properties.total_memory / 2**30:.1f} GiB, CUDA {torch.version.cuda}"
    return described


def in_words(machine: dict[str, Any]) -> str:
    """One line of it for people."""
    parts = [
        machine["board"],
        machine["processor"],
        f"{machine['cores']} cores",
        f"{machine['memory_gib']:.0f} GiB",
        machine["gpu"] or "no CUDA GPU",
        machine["system"],
        f"Python {machine['python']}",
        *(f"{name} {found}" for name, found in machine["libraries"].items()),
    ]
    return ", ".join(part for part in parts if part)


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _board() -> str | None:
    """What a Jetson or another board calls itself."""
    model = Path("/proc/device-tree/model")
    return model.read_text(encoding="utf-8", errors="replace").strip("\0\n ") if model.is_file() else None


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
