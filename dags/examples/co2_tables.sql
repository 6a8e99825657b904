-- A run may be repeated: it finds the tables of the run before and replaces what is in them.
create table if not exists co2 (
    year integer primary key,
    ppm real not null check (ppm > 0)
);
delete from co2;
