"""Puts the yearly figures that lie beside the DAG into the warehouse."""

import csv
import sqlite3

import updraft

with open("data/co2_mauna_loa.csv", newline="", encoding="utf-8") as file:
    rows = [(int(row["year"]), float(row["ppm"])) for row in csv.DictReader(file)]

connection = updraft.connection("warehouse")
with sqlite3.connect(connection["schema"]) as database:
    database.executemany("insert into co2 (year, ppm) values (?, ?)", rows)

print(f"loaded {len(rows)} years")
{"rows": len(rows)}
