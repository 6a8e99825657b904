"""Fits yesterday's sales to a straight line and writes its relative error as the task's result.

Started once per member of the gang; RANK says which one this is, and only the first writes.
"""

import csv
import json
import os
import pathlib


def fit(values):
    """Least squares: slope and intercept over 0, 1, 2, ..."""
    n = len(values)
    mean_x, mean_y = (n - 1) / 2, sum(values) / n
    spread = sum((x - mean_x) ** 2 for x in range(n)) or 1
    slope = sum((x - mean_x) * (y - mean_y) for x, y in enumerate(values)) / spread
    return slope, mean_y - slope * mean_x


def main():
    source = pathlib.Path(os.environ.get("SALES_HISTORY", "history.csv"))
    with source.open(newline="") as lines:
        values = [float(row["amount"]) for row in csv.DictReader(lines)]
    slope, start = fit(values)
    error = sum(abs(start + slope * x - y) for x, y in enumerate(values)) / (sum(values) or 1)
    if os.environ.get("RANK", "0") == "0":
        pathlib.Path(os.environ["UPDRAFT_RESULT"]).write_text(json.dumps({"error": error, "slope": slope}))


if __name__ == "__main__":
    main()
