import csv
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

# operations of one logit, counted in skce/_kernels/c, and numbers read and written for it
OPERATIONS = {"softmax": {"float32": 25, "float64": 35}, "sigmoid": {"float32": 47, "float64": 67}}
NUMBERS = {"softmax": 2, "sigmoid": 3}
BYTES = {"float32": 4, "float64": 8}


def speed_folder():
    """Return docs/speed, from docs, where the build runs, or from a folder above or beside it."""
    here = (Path(folder, "speed") for folder in (".", "docs", "..", "../.."))
    return next(folder for folder in here if (folder / "gradient.csv").is_file())


with open(speed_folder() / "gradient.csv", encoding="utf-8", newline="") as file:
    rows = [row for row in csv.DictReader(file) if row["loss"] in OPERATIONS]
fig, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
intensity = np.array([1.0, 8.0])
for dtype, style in (("float32", "-"), ("float64", "--")):
    copies = [float(row["copy"]) for row in rows if row["dtype"] == dtype]
    bandwidth = 2 * BYTES[dtype] / np.median(copies)
    label = f"a copy, {dtype}: {bandwidth:.0f} GB/s"
    ax.plot(intensity, bandwidth * intensity, "k", ls=style, lw=1, label=label)
for loss, marker in (("softmax", "o"), ("sigmoid", "s")):
    for dtype, colour in (("float32", "C0"), ("float64", "C1")):
        each = [row for row in rows if (row["loss"], row["dtype"]) == (loss, dtype)]
        speed = [OPERATIONS[loss][dtype] / float(row["skce"]) for row in each]
        x = OPERATIONS[loss][dtype] / (NUMBERS[loss] * BYTES[dtype])
        ax.plot([x] * len(each), speed, marker, color=colour, label=f"{loss}, {dtype}")
        for row, y in zip(each, speed, strict=True):
            if loss == "softmax" and row["K"] in ("2", "100"):
                ax.annotate(f"K={row['K']}", (x, y), (6, -3), textcoords="offset points")
ax.set(xscale="log", yscale="log", xlabel="operations a byte", ylabel="operations a ns")
ax.set_xticks([1, 2, 4, 8], ["1", "2", "4", "8"])
ax.minorticks_off()
ax.legend(fontsize="small", loc="upper left")
