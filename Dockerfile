# The registry as an image. Any base with Python 3.11 or newer will do, e.g. a Debian with python3 and python3-venv:
#   podman build --format docker --build-arg BASE=python:3.13-slim -t stowage .
# (--format docker, because OCI images know no HEALTHCHECK.)
ARG BASE=python:3.13-slim

FROM $BASE AS build
WORKDIR /src
RUN python3 -m venv /opt/stowage
COPY requirements/runtime.txt requirements/runtime.txt
RUN /opt/stowage/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements/runtime.txt
COPY . .
RUN /opt/stowage/bin/pip install --no-cache-dir --disable-pip-version-check --no-build-isolation --no-deps . \
    && /opt/stowage/bin/pip uninstall --yes --quiet setuptools wheel

FROM $BASE
# A fixed number, so that volumes and `runAsNonRoot` can name it.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/stowage --shell /usr/sbin/nologin stowage \
    && install --directory --owner stowage --group stowage --mode 0750 /var/lib/stowage
COPY --from=build /opt/stowage /opt/stowage
ENV PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /var/lib/stowage
VOLUME /var/lib/stowage
EXPOSE 5000
# http.client heeds no proxy. Where the configuration sets another port, or TLS, give the container a check of its own.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["/opt/stowage/bin/python", "-c", \
    "import http.client as h, sys; c = h.HTTPConnection('127.0.0.1', 5000, timeout=4); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["/opt/stowage/bin/stowage"]
# Beyond loopback the server refuses to start while auth.mode is open, and says so. Where everyone who
# reaches the port may push and delete, say that: docker run ... stowage serve --host 0.0.0.0 --data /var/lib/stowage --insecure-open
CMD ["serve", "--host", "0.0.0.0", "--data", "/var/lib/stowage"]
