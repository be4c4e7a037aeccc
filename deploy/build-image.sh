#!/bin/sh
# The steps of the image, in order: an environment of its own with locked, hash-checked packages,
# those for gRPC included, then actorflow from this checkout, then a look whether it starts. The Dockerfile runs this, and a
# test does, outside a container.
#
#   sh deploy/build-image.sh SOURCE TARGET
set -eu

source=$1
target=$2

"${PYTHON:-python3}" -m venv "$target"
"$target/bin/pip" install --quiet --disable-pip-version-check --no-cache-dir \
    --require-hashes -r "$source/requirements/grpc.txt"
"$target/bin/pip" install --quiet --disable-pip-version-check --no-cache-dir \
    --no-deps --no-build-isolation "$source"
# What built it has no place in the image.
"$target/bin/pip" uninstall --quiet --yes hatchling editables trove-classifiers pip
"$target/bin/python" -m compileall -q "$target/lib"
"$target/bin/actorflow" --version
