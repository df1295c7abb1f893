"""`/api/v1`: people, projects, rights and tokens over HTTP, described by its OpenAPI document."""
