"""Alembic's environment: runs migrations on the connection that `database.engine.migrate` passes, in its
transaction."""

from alembic import context

from postern.journal.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,
    on_version_apply=context.config.attributes.get("applied", ()),
)
context.run_migrations()
