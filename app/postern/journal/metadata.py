"""What all tables of the journal belong to, and how their indexes are named."""

from sqlalchemy import MetaData

metadata = MetaData(
    naming_convention={"ix": "%(table_name)s_by_%(column_0_N_name)s", "pk": "%(table_name)s_key"},
)
