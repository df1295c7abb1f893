"""Removing all that is left of an upload."""

from storage.s3_assembly import Workshop, parts_prefix
from storage.s3_bucket import UPLOADS


async def sweep(shared: Workshop, upload_id: str, names: list[str]) -> None:
    """Remove all that is left of an upload: multipart uploads, what waits in its folder, and the objects named."""
    run, bucket, subject = shared.threads.run, shared.bucket, f"upload {upload_id}"
    last, more = "", True
    while more:
        begun, more = await run(bucket.multiparts, parts_prefix(upload_id), last)
        for multipart in begun:
            last = multipart.name
            await run(bucket.abort, multipart, subject)
    last, more = "", True
    while more:
        page, more = await run(bucket.page, f"{UPLOADS}{upload_id}/", last)
        last = page[-1].name if page else ""
        names = [*names, *(one.name for one in page)]
        if names:
            await run(bucket.delete_all, names, subject)
        names = []
