delete from report where region = 'us' and day = '{{ ds }}';
insert into report select day, region, count(*), sum(amount) from orders
where region = 'us' and day = '{{ ds }}' group by day, region;
select * from report where region = 'us' and day = '{{ ds }}';
