-- Yesterday's orders from the file that `extract` saved into the table of sales. Repeating it changes nothing.
delete from sales where day = :ds;
insert into sales (day, store, product, amount)
select day, store, product, sum(amount)
from staging_orders
where day = :ds
group by day, store, product;
