# The DAGs name no connection yet. One is set like this, once per service:
# updraft connections set warehouse --type sqlite --schema "$PWD/var/files/warehouse.db"
