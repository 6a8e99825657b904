# The connections that the DAGs name. Copy this file to connections.sh, fill it in and run it once per service.
# Passwords are asked for, or come from a file: see `updraft connections set --help`.
updraft connections set warehouse --type sqlite --schema "$PWD/var/files/warehouse.db"
