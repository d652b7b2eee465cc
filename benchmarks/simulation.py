"""How fast simbrain is made: prints one JSON line.

    python benchmarks/simulation.py

``seconds_first`` counts everything: starting the worker processes, reading the template, writing
the cache. ``seconds_cached`` is a second call in the same process.
"""

import json
import os
import tempfile
import threading
import time
from pathlib import Path

import psutil

SAMPLE_SECONDS = 0.05


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MEDLIB_CACHE"] = folder
        from medlib.datasets.simbrain import load_simbrain

        with PeakMemory() as memory:
            start = time.perf_counter()
            dataset = load_simbrain()
            first = time.perf_counter() - start
        del dataset
        start = time.perf_counter()
        dataset = load_simbrain()
        cached = time.perf_counter() - start
        slices = sum(len(split) for split in dataset.splits.values())
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
    print(
        json.dumps(
            {
                "slices_per_second": round(slices / first),
                "seconds_first": round(first, 2),
                "seconds_cached": round(cached, 2),
                "megabytes_peak": round(memory.peak / 2**20),
                "megabytes_cache_file": round(size / 2**20, 1),
            }
        )
    )


class PeakMemory:
    """Highest memory of this process and its workers together, resident, sampled."""

    def __init__(self):
        self.peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._stop.wait(SAMPLE_SECONDS):
            total = 0
            for process in (me, *me.children(recursive=True)):
                try:
                    total += process.memory_info().rss
                except psutil.Error:
                    continue
            self.peak = max(self.peak, total)


if __name__ == "__main__":
    main()
