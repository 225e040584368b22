#!/bin/sh
# Puts secrets that are mounted as files into the environment, each under the file's name, and
# prepares the instance's directory; then becomes the command. What is executed in a container that
# runs already goes through it, too: `docker compose exec code quant-entrypoint quant status`.
set -eu

for file in "${QUANT_SECRETS:-/run/secrets}"/*; do
    # An empty one is not given: it must not hide a setting.
    [ -s "$file" ] || continue
    name=$(basename "$file")
    case $name in
        *[!A-Z0-9_]* | [0-9]*)
            echo "$file: a secret is named as its variable: capitals, digits and _" >&2
            exit 2
            ;;
    esac
    value=$(cat "$file")
    export "$name=$value"
done

# Several containers share the directory: each finds the file whole.
mkdir -p "$DAGSTER_HOME"
fresh=$(mktemp "$DAGSTER_HOME/.dagster.yaml.XXXXXX")
cat "${QUANT_INSTANCE:-/etc/quant/dagster.yaml}" > "$fresh"
mv "$fresh" "$DAGSTER_HOME/dagster.yaml"
exec "$@"
