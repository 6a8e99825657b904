"""Draws the curve as SVG and writes the report around it."""

import html
from pathlib import Path

WIDTH, HEIGHT, MARGIN = 640, 320, 40

years = outputs["years"]
decades = outputs["decades"]
first, last = years[0]["year"], years[-1]["year"]
low, high = min(row["ppm"] for row in years), max(row["ppm"] for row in years)


def x(year):
    return MARGIN + (year - first) / (last - first) * (WIDTH - 2 * MARGIN)


def y(ppm):
    return HEIGHT - MARGIN - (ppm - low) / (high - low) * (HEIGHT - 2 * MARGIN)


curve = " ".join(f"{x(row['year']):.1f},{y(row['ppm']):.1f}" for row in years)
bars = "".join(
    f'<text x="{x(max(row["decade"], first)):.1f}" y="{HEIGHT - 12}" font-size="11">{row["decade"]}s</text>'
    for row in decades
)
plot = (
    f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}">'
    f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
    f'<polyline points="{curve}" fill="none" stroke="#b03a2e" stroke-width="2"/>'
    f'<text x="{MARGIN}" y="20" font-size="14">CO2 at Mauna Loa, {low} to {high} ppm</text>{bars}</svg>'
)
rows = "".join(f"<tr><td>{row['decade']}s</td><td>{row['ppm']}</td></tr>" for row in decades)
report = (
    f"<!doctype html><title>CO2 until {last}</title><h1>CO2 until {last}</h1>{plot}"
    f"<table><tr><th>decade</th><th>mean ppm</th></tr>{rows}</table><p>Run {html.escape(run_id)}</p>"
)

if params["report_dir"]:
    folder = Path(params["report_dir"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "co2.svg").write_text(plot, encoding="utf-8")
    (folder / "co2.html").write_text(report, encoding="utf-8")
    print(f"wrote {folder / 'co2.html'}")

{"growth_ppm": round(high - low, 2), "decades": len(decades), "svg": plot}
