"""Every fact the registry keeps, as rows. SQLAlchemy appears only here; what leaves are frozen dataclasses."""
