"""Container images made on the spot: layers, configs and manifests as bytes, written as the layouts that clients read.

Sources: OCI image-spec 1.1 (`config.md`, `layer.md`, `manifest.md`, `image-layout.md`), Docker's image format 1.2.
"""

import gzip
import hashlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
EVERY_MANIFEST = ", ".join([OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST])
"""Accept header of a client that understands everything."""

MESSAGE = "app/message"
"""The file that a sample image prints when it is run."""

_WHITEOUT = ".wh."
_BUSYBOX = Path("/bin/busybox")


def digest_of(content: bytes) -> str:
    """`sha256:` and the hash of the content."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def descriptor(content: bytes, media_type: str, **more: Any) -> dict[str, Any]:
    """An OCI content descriptor of the content."""
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content), **more}


@dataclass(frozen=True)
class Layer:
    """A layer, as the tar archive that its `diff_id` names and the gzip file that goes over the wire."""

    tar: bytes
    blob: bytes

    @property
    def diff_id(self) -> str:
        """Digest of the archive, uncompressed."""
        return digest_of(self.tar)

    @property
    def digest(self) -> str:
        """Digest of the compressed archive."""
        return digest_of(self.blob)


@dataclass(frozen=True)
class Image:
    """An OCI image for one platform."""

    layers: tuple[Layer, ...]
    config: bytes
    manifest: bytes

    @property
    def digest(self) -> str:
        """Digest of the manifest."""
        return digest_of(self.manifest)

    @property
    def config_digest(self) -> str:
        """Digest of the config: what Docker and Podman call the image's id."""
        return digest_of(self.config)

    @property
    def diff_ids(self) -> tuple[str, ...]:
        """Digests of the layers, uncompressed, lowest first."""
        return tuple(layer.diff_id for layer in self.layers)

    @property
    def files(self) -> dict[str, bytes]:
        """Path and content of every regular file that a container sees."""
        return merged_files([layer.tar for layer in self.layers])

    @property
    def blobs(self) -> dict[str, bytes]:
        """Config and layers by digest."""
        return {self.config_digest: self.config, **{layer.digest: layer.blob for layer in self.layers}}

    @property
    def platform(self) -> dict[str, str]:
        """Operating system and architecture, as an index names them."""
        config = json.loads(self.config)
        return {"os": config["os"], "architecture": config["architecture"]}


def build_layer(files: Mapping[str, bytes | None], *, level: int = 6) -> Layer:
    """A layer with these files.

    Args:
        files: content by path without leading slash; None removes what a lower layer has there. Everything under
            `bin/` is executable.
        level: of compression, 0 (none) to 9.
    """
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for folder in sorted({path.rsplit("/", 1)[0] for path in files if "/" in path}):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for path, content in files.items():
            folder, _, name = path.rpartition("/")
            entry = tarfile.TarInfo(path if content is not None else f"{folder}/{_WHITEOUT}{name}".lstrip("/"))
            entry.mode = 0o755 if path.startswith("bin/") else 0o644
            entry.size = len(content or b"")
            tar.addfile(entry, io.BytesIO(content or b""))
    content = archive.getvalue()
    return Layer(content, gzip.compress(content, compresslevel=level, mtime=0))


def build_image(
    layers: Sequence[Layer], *, architecture: str = "amd64", command: Sequence[str] = ("/bin/busybox", "true")
) -> Image:
    """An image of these layers, lowest first."""
    config = {
        "created": "2024-01-01T00:00:00Z",
        "architecture": architecture,
        "os": "linux",
        "config": {"Cmd": list(command), "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "test"} for _ in layers],
    }
    content = json.dumps(config).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(content, OCI_CONFIG),
        "layers": [descriptor(layer.blob, OCI_LAYER) for layer in layers],
    }
    return Image(tuple(layers), content, json.dumps(manifest).encode())


def sample_image(*, architecture: str = "amd64", busybox: bool = True) -> Image:
    """An image that no other call returns: three layers, one removes a file of another; run, it prints `MESSAGE`.

    Args:
        architecture: what the config says; the executable is always this machine's.
        busybox: whether there is something in it to run.
    """
    unique = os.urandom(16).hex()
    lowest: dict[str, bytes | None] = {"etc/unique": unique.encode(), "etc/removed": b"not seen in a container\n"}
    if busybox:
        lowest["bin/busybox"] = _BUSYBOX.read_bytes()
    layers = [
        build_layer(lowest),
        build_layer({"data/random": os.urandom(100_000), "data/deep/er/empty": b""}),
        build_layer({MESSAGE: f"hello from {unique}\n".encode(), "etc/removed": None}),
    ]
    return build_image(layers, architecture=architecture, command=["/bin/busybox", "cat", f"/{MESSAGE}"])


def large_image(size: int) -> Image:
    """An image with one layer of `size` random bytes, so that nothing can compress it."""
    return build_image([build_layer({"data/large": os.urandom(size)}, level=0)])


def artifact_of(subject: Image, content: bytes) -> Image:
    """An artifact with one blob that refers to the subject (OCI image-spec 1.1, "Guidelines for Artifact Usage")."""
    empty = b"{}"
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/vnd.example.note",
        "config": descriptor(empty, OCI_EMPTY),
        "layers": [descriptor(content, "text/plain")],
        "subject": descriptor(subject.manifest, OCI_MANIFEST),
        "annotations": {"org.example.note": "attached"},
    }
    return Image((Layer(content, content),), empty, json.dumps(manifest).encode())


def build_index(images: Sequence[Image]) -> bytes:
    """An OCI index of images for different platforms."""
    manifests = [descriptor(image.manifest, OCI_MANIFEST, platform=image.platform) for image in images]
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}).encode()


def write_layout(folder: Path, image: Image, *, tag: str = "latest") -> Path:
    """Write the image as an OCI image layout and return the folder."""
    named = {"org.opencontainers.image.ref.name": tag}
    _write_layout(folder, [image], descriptor(image.manifest, OCI_MANIFEST, annotations=named))
    return folder


def write_index_layout(folder: Path, images: Sequence[Image], *, tag: str = "latest") -> Path:
    """Write an index of the images as an OCI image layout and return the folder."""
    index = build_index(images)
    named = {"org.opencontainers.image.ref.name": tag}
    _write_layout(folder, images, descriptor(index, OCI_INDEX, annotations=named), index)
    return folder


def write_oci_archive(file: Path, image: Image, reference: str) -> Path:
    """Write the image as a tar archive of an OCI layout that names it `reference`; return the file."""
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        layout = write_layout(Path(folder), image, tag=reference)
        with tarfile.open(file, "w") as archive:
            for entry in sorted(layout.iterdir()):
                archive.add(entry, entry.name)
    return file


def write_docker_archive(file: Path, image: Image, reference: str) -> Path:
    """Write the image as `docker save` does, for `docker load`; return the file."""
    config = f"{image.config_digest.removeprefix('sha256:')}.json"
    names = [f"{number}/layer.tar" for number, _ in enumerate(image.layers)]
    listing = json.dumps([{"Config": config, "RepoTags": [reference], "Layers": names}]).encode()
    contents = [("manifest.json", listing), (config, image.config)]
    contents += zip(names, (layer.tar for layer in image.layers), strict=True)
    with tarfile.open(file, "w") as archive:
        for name, content in contents:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return file


def layout_blobs(folder: Path) -> dict[str, bytes]:
    """Every blob of an OCI layout by digest.

    Raises:
        AssertionError: a blob is not what its name says.
    """
    return _checked({file.name: file for file in (folder / "blobs" / "sha256").iterdir()})


def layout_entry(folder: Path) -> dict[str, Any]:
    """The only descriptor in the layout's `index.json`."""
    [entry] = json.loads((folder / "index.json").read_bytes())["manifests"]
    return dict(entry)


def read_layout(folder: Path) -> Image:
    """The only image of an OCI layout whose layers are gzip or plain; every digest is checked."""
    blobs = layout_blobs(folder)
    return _image_of(blobs[layout_entry(folder)["digest"]], blobs)


def write_directory(folder: Path, image: Image) -> Path:
    """Write the image as skopeo's transport `dir:` keeps it (containers-transports(5)), and return the folder."""
    folder.mkdir(parents=True)
    (folder / "version").write_text("Directory Transport Version: 1.1\n")
    (folder / "manifest.json").write_bytes(image.manifest)
    for digest, content in image.blobs.items():
        (folder / digest.removeprefix("sha256:")).write_bytes(content)
    return folder


def read_directory(folder: Path) -> Image:
    """The image in a folder of skopeo's transport `dir:`; every digest is checked."""
    blobs = _checked({file.name: file for file in folder.iterdir() if len(file.name) == 64})
    return _image_of((folder / "manifest.json").read_bytes(), blobs)


def merged_files(archives: Sequence[bytes]) -> dict[str, bytes]:
    """Regular files that are left when the archives are unpacked over one another, whiteouts obeyed."""
    files: dict[str, bytes] = {}
    for content in archives:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for entry in archive:
                path = entry.name.lstrip("./")
                folder, _, name = path.rpartition("/")
                reader = archive.extractfile(entry) if entry.isreg() else None
                if name.startswith(_WHITEOUT):
                    files.pop(f"{folder}/{name.removeprefix(_WHITEOUT)}".lstrip("/"), None)
                elif reader is not None:
                    files[path] = reader.read()
    return files


def _write_layout(folder: Path, images: Sequence[Image], entry: dict[str, Any], index: bytes | None = None) -> None:
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    contents = [content for image in images for content in (*image.blobs.values(), image.manifest)]
    for content in [*contents, *([index] if index is not None else [])]:
        (blobs / digest_of(content).removeprefix("sha256:")).write_bytes(content)
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}))


def _checked(files: Mapping[str, Path]) -> dict[str, bytes]:
    blobs = {f"sha256:{name}": file.read_bytes() for name, file in files.items()}
    for digest, content in blobs.items():
        assert digest_of(content) == digest, f"the content of {digest} hashes to {digest_of(content)}"
    return blobs


def _image_of(manifest: bytes, blobs: Mapping[str, bytes]) -> Image:
    content = json.loads(manifest)
    layers = [blobs[layer["digest"]] for layer in content["layers"]]
    unpacked = [gzip.decompress(blob) if blob.startswith(b"\x1f\x8b") else blob for blob in layers]
    pairs = zip(unpacked, layers, strict=True)
    return Image(tuple(Layer(*pair) for pair in pairs), blobs[content["config"]["digest"]], manifest)
