"""What the server does by itself: each job is claimed by a lease in the catalog, so one process runs it at a time."""
