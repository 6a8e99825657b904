-- The orders of a day; yours come from somewhere else. A run may be repeated: it replaces what it wrote before.
create table if not exists orders (day text, region text, amount real);
delete from orders where day = '{{ ds }}';
insert into orders values
    ('{{ ds }}', 'eu', 19.90), ('{{ ds }}', 'eu', 5.00), ('{{ ds }}', 'us', 42.50);
