"""Where bytes live: digests, the blob driver Protocol and its implementations."""
