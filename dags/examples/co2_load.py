"""Puts the monthly figures that lie beside the DAG into the warehouse."""

import csv
import sqlite3

import updraft

with open("data/co2_mauna_loa.csv", newline="", encoding="utf-8") as file:
    rows = [(row["Date"], float(row["CO2"]), float(row["adjusted CO2"])) for row in csv.DictReader(file)]

connection = updraft.connection("warehouse")
with sqlite3.connect(connection["schema"]) as database:
    database.executemany("insert into co2 (month, ppm, adjusted) values (?, ?, ?)", rows)

print(f"loaded {len(rows)} months, {rows[0][0][:7]} to {rows[-1][0][:7]}")
{"rows": len(rows)}
