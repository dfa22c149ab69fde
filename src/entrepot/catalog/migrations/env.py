"""What alembic runs: the steps, on the connection it is handed."""

from alembic import context

from entrepot.catalog.image_schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=False,
)
with context.begin_transaction():
    context.run_migrations()
