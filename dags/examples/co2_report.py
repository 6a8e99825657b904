"""Draws the curve as SVG and writes the report around it."""

import html
from pathlib import Path

WIDTH, HEIGHT = 860, 440
LEFT, RIGHT, TOP, BOTTOM = 62, 24, 64, 44

months = outputs["months"]
decades = outputs["decades"]


def year(row):
    """The middle of the month, in years."""
    return int(row["month"][:4]) + (int(row["month"][5:7]) - 0.5) / 12


first, last = int(year(months[0])) // 10 * 10 + 5, int(year(months[-1])) + 1
low = int(min(row["ppm"] for row in months)) // 20 * 20
high = int(max(row["ppm"] for row in months)) // 20 * 20 + 20


def x(at):
    return LEFT + (at - first) / (last - first) * (WIDTH - LEFT - RIGHT)


def y(ppm):
    return HEIGHT - BOTTOM - (ppm - low) / (high - low) * (HEIGHT - TOP - BOTTOM)


def line(column, colour, width):
    points = " ".join(f"{x(year(row)):.1f},{y(row[column]):.1f}" for row in months)
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-linejoin="round"/>'


def text(at_x, at_y, words, anchor="start", size=12, colour="#555"):
    return f'<text x="{at_x:.1f}" y="{at_y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}">{words}</text>'


grid = []
for ppm in range(low, high + 1, 20):
    grid.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(ppm):.1f}" y2="{y(ppm):.1f}" stroke="#ddd"/>')
    grid.append(text(LEFT - 8, y(ppm) + 4, ppm, "end"))
for tick in range(-(-first // 10) * 10, last + 1, 10):
    grid.append(f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM + 6}" stroke="#999"/>')
    grid.append(text(x(tick), HEIGHT - BOTTOM + 22, tick, "middle"))

end = months[-1]
span = f"{months[0]['month'][:7]} to {end['month'][:7]}"
plot = "".join(
    [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}"'
        f' viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        text(LEFT, 28, "Carbon dioxide in the air at Mauna Loa", size=18, colour="#222"),
        text(LEFT, 48, f"Parts per million, monthly, {span}"),
        *grid,
        line("ppm", "#9db8d2", 1),
        line("adjusted", "#b03a2e", 2),
        f'<line x1="{WIDTH - 230}" x2="{WIDTH - 206}" y1="24" y2="24" stroke="#9db8d2" stroke-width="2"/>',
        text(WIDTH - 200, 28, "as measured"),
        f'<line x1="{WIDTH - 230}" x2="{WIDTH - 206}" y1="44" y2="44" stroke="#b03a2e" stroke-width="2"/>',
        text(WIDTH - 200, 48, "with the season taken out"),
        "</svg>",
    ]
)

columns = {"decade": "Decade", "months": "Months", "ppm": "Mean (ppm)", "growth": "Growth (ppm)"}
heads = "".join(f"<th>{title}</th>" for title in columns.values())
rows = "".join("<tr>" + "".join(f"<td>{row[name]}</td>" for name in columns) + "</tr>" for row in decades)
report = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>CO2 at Mauna Loa until {end["month"][:7]}</title>
<style>
  body {{ font-family: sans-serif; max-width: {WIDTH}px; margin: 2em auto; color: #222 }}
  td, th {{ padding: 0.2em 1em; text-align: right }} td:first-child, th:first-child {{ text-align: left }}
</style>
<h1>CO2 at Mauna Loa until {end["month"][:7]}</h1>
{plot}
<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>
<p>Data: Scripps CO2 Program, CC BY 4.0. Run {html.escape(run_id)}.</p>
</html>
"""

if params["report_dir"]:
    folder = Path(params["report_dir"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "co2.svg").write_text(plot, encoding="utf-8")
    (folder / "co2.html").write_text(report, encoding="utf-8")
    print(f"wrote {folder / 'co2.html'}")

{"growth_ppm": round(end["adjusted"] - months[0]["adjusted"], 2), "decades": len(decades), "svg": plot}
