# actorflow alone; your application is mounted, or added by an image of yours:
#
#   FROM actorflow
#   COPY orders.py /app/
#   ENV ACTORFLOW_APP=/app/orders.py

ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
COPY . /src
RUN sh /src/deploy/build-image.sh /src /opt/actorflow

FROM ${PYTHON_IMAGE}
COPY --from=build /opt/actorflow /opt/actorflow
ENV PATH=/opt/actorflow/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ACTORFLOW_LOG_FORMAT=json
WORKDIR /app
# No account is needed for a number, and nothing in the image belongs to it.
USER 10001:10001
EXPOSE 3500 50001
STOPSIGNAL SIGTERM
ENTRYPOINT ["actorflow"]
CMD ["serve"]
