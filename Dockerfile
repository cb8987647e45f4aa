# A kvd that binds TCP inside its container: give it keys, or keep the ports on this machine.
#   docker build -t kvd . && docker run -d --read-only -v kvd:/var/lib/kvd -v ./access:/etc/kvd:ro \
#       -p 7411:7411 -p 7412:7412 kvd --key /etc/kvd/daemon.key_secret --access /etc/kvd/access.toml \
#       --listen 'tcp://*:7411' --publish 'tcp://*:7412' --listen ipc:///run/kvd/kvd.sock
# Without arguments it is served on a unix socket alone: docker exec -it NAME kvsh --url ipc:///run/kvd/kvd.sock
# The gateways are in it too: `kvd gateway http` and others instead of `kvd serve`, see conf/compose.yaml. With fewer of them:
#   docker build --build-arg EXTRAS=metrics -t kvd .
FROM python:3.13-slim AS build
ARG EXTRAS=metrics,http,grpc,nats
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev
COPY . /src
WORKDIR /src
# The packages of the lock files, by hash, and kvd from the tree that this file stands in.
RUN python -m venv /opt/kvd \
    && /opt/kvd/bin/pip install --no-cache-dir --require-hashes --requirement requirements-build.lock \
    && /opt/kvd/bin/pip wheel --no-cache-dir --no-build-isolation --require-hashes --requirement requirements-system.lock \
        --wheel-dir /wheels \
    && /opt/kvd/bin/pip wheel --no-build-isolation --no-deps --wheel-dir /wheels . \
    && /opt/kvd/bin/pip install --no-index --find-links /wheels "kvd-server[$EXTRAS]" \
    && /opt/kvd/bin/pip uninstall --yes setuptools

FROM python:3.13-slim
RUN useradd --system --user-group --home-dir /var/lib/kvd kvd \
    && install -d -o kvd -g kvd -m 750 /var/lib/kvd /run/kvd /etc/kvd
COPY --from=build /opt/kvd /opt/kvd
ENV PATH=/opt/kvd/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER kvd
VOLUME ["/var/lib/kvd", "/run/kvd"]
EXPOSE 7411 7412 7480 50051
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD ["kvsh", "--url", "ipc:///run/kvd/kvd.sock", "ping"]
ENTRYPOINT ["kvd", "serve", "--data", "/var/lib/kvd"]
CMD ["--listen", "ipc:///run/kvd/kvd.sock", "--publish", "ipc:///run/kvd/changes.sock"]
