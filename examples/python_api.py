"""The Python API on a small clip: run it from top to bottom, or cell by cell in an editor that knows `# %%`.

python examples/python_api.py [OUTPUT_DIR]
"""

# %% The model is loaded once; importing the package loads no torch.
import sys
from pathlib import Path

import numpy as np

import eve_cli as eve

CLIP = Path(__file__).parent / "car.mp4"
OUT = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
model = eve.load_model("mini")

# %% Edit half a second of a file. The result is a file and an array (frames, height, width, 3).
result = eve.edit(CLIP, "make it snowy", output=OUT / "snowy.mp4", model=model, seed=7, end=0.5, overwrite=True)
print(result.output, result.frames.shape, f"mean change {result.change:.2f}")

# %% Edit frames in memory, with a progress callback; nothing is written.
frames = result.frames[:3]
night = eve.edit(frames, "make it night", model=model, progress=lambda stage, done, total: None)
print("in memory:", night.frames.shape, night.output)
assert night.frames.shape == frames.shape and night.frames.dtype == np.uint8

# %% What an edit would take, before running it.
report = eve.plan(CLIP, "make it snowy", model=model)
print(f"{len(report.plan.windows)} windows, about {report.estimate.seconds:.0f} s on {report.device}")

# %% Evaluate the edit with the metrics that need no weights.
summary = eve.evaluate(CLIP, OUT / "snowy.mp4", instruction="make it snowy", metrics="preservation,flicker")
print(sorted(summary))
