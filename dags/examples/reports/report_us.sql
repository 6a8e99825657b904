insert into report select * from orders where region = 'us' and day = '{{ ds }}';
