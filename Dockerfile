# The registry as an image. The bases may be any that carry Python 3.11 or newer, the same one, on glibc; the first one
# builds, the second one is what the image stands on:
#   podman build --format docker -t stowage .
#   podman build --format docker --build-arg BUILD_BASE=debian-with-python --build-arg BASE=debian-with-python -t stowage .
# (--format docker, because OCI images know no HEALTHCHECK.) Where pip needs settings of its own, hand its file in for the
# time of the build, so that nothing of it gets into the image: --secret id=pip.conf,src=/etc/pip.conf
ARG BUILD_BASE=python:3.13
ARG BASE=python:3.13-slim

FROM $BUILD_BASE AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python3 -m venv /opt/stowage
COPY requirements/runtime.txt requirements/runtime.txt
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /opt/stowage/bin/pip install --quiet --require-hashes -r requirements/runtime.txt
COPY . .
# What only building needs goes, then the tests that packages carry, what boto3 knows of services other than S3 and
# those that credentials come from, and the debugging symbols (a third of all) if there is `strip`. The last line shows
# that it still runs.
RUN /opt/stowage/bin/pip install --quiet --no-index --no-build-isolation --no-deps . \
    && /opt/stowage/bin/pip uninstall --quiet --yes setuptools wheel pip \
    && find /opt/stowage -type d \( -name test -o -name tests -o -name testing \) -prune -exec rm -rf {} + \
    && find /opt/stowage -path '*/boto*/data/*' -prune -type d ! -name s3 ! -name sts ! -name 'sso*' ! -name signin \
        -exec rm -rf {} + \
    && if command -v strip; then find /opt/stowage -name '*.so*' -type f -exec strip --strip-debug {} +; fi \
    && /opt/stowage/bin/stowage --version

FROM $BASE
LABEL org.opencontainers.image.title="Stowage" \
    org.opencontainers.image.description="An OCI Distribution registry server" \
    org.opencontainers.image.licenses="Apache-2.0"
# A fixed number, so that volumes and `runAsNonRoot` can name it. The group is for platforms that choose a user
# themselves, and run it in the group 0.
RUN install --directory --owner 10001 --group 0 --mode 0770 /var/lib/stowage
COPY --from=build /opt/stowage /opt/stowage
ENV PATH=/opt/stowage/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    STOWAGE_DATA=/var/lib/stowage \
    STOWAGE_HTTP__HOST=0.0.0.0
USER 10001:10001
WORKDIR /var/lib/stowage
VOLUME /var/lib/stowage
EXPOSE 5000
# It reads the same environment as the server, and the file that STOWAGE_CONFIG names; not the server's arguments.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD ["/opt/stowage/bin/python", "-m", "registry.healthcheck"]
ENTRYPOINT ["/opt/stowage/bin/stowage"]
# While auth.mode is open, the server refuses to listen beyond loopback, and says so. Where everyone who reaches the port
# may push and delete, say that: podman run ... stowage serve --insecure-open
CMD ["serve"]
