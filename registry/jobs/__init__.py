"""Background work: one module a job, run under a lease by one process at a time."""
