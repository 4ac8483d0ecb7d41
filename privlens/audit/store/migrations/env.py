"""What alembic runs: the steps, within the connection that `store.open_store` gives it."""

from alembic import context

from privlens.audit.store.models import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
