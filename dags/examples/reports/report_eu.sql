insert into report select * from orders where region = 'eu' and day = '{{ ds }}';
