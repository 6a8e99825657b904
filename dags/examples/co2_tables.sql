-- A run may be repeated: it finds the table of the run before and replaces what is in it.
create table if not exists co2 (
    month text primary key,
    ppm real not null check (ppm > 0),
    adjusted real not null
);
delete from co2;
