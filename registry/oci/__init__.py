"""What the OCI specifications say about names, media types, manifests and referrers, as pure functions.

Nothing here reads a file, a database or a clock. Everything that is refused is refused with an exception of
`registry.errors`, whatever the input: these modules are the first to see what strangers send.
Sources: distribution-spec (main), image-spec 1.1 (descriptor, manifest, image-index), Docker's image
manifest v2, schema 2.
"""
